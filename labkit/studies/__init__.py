"""The evidence, one file a study: a frozen dataclass of settings and run(settings) → results."""
