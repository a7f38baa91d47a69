"""One file a study: its settings, `run(settings)`, and the weights that it makes."""
