"""What is asked of each text: targets, loss, decoding and metrics."""
