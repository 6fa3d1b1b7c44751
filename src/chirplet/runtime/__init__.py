"""What computes logits from a saved folder: PyTorch, ONNX Runtime, OpenVINO; torch is imported for PyTorch alone."""
