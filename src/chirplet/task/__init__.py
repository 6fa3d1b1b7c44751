"""Tasks: targets, loss, decoding and metrics."""
