"""What is measured: how right a model is, and what it costs."""
