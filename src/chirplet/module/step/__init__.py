"""How a training step is carried out: by hooks of Lightning, or captured in CUDA graphs."""
