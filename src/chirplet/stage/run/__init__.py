"""The settings, inputs and identity of a run."""
