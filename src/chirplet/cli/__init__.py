"""The command line: from overrides to a run."""
