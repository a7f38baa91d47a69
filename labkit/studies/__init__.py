"""The evidence, one file a study: settings, `run(settings)`, and the weights that it supplies."""
