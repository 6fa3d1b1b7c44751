"""The choice of layers that are not quantized."""
