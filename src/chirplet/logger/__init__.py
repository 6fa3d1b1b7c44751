"""Settings of the experiment loggers; each builds a Lightning logger."""
