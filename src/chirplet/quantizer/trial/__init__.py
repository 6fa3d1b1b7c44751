"""Whether a method can quantize an architecture, tried on a small model."""
