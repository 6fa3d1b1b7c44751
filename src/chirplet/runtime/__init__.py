"""Runtimes that compute logits from a saved folder: PyTorch, ONNX Runtime, OpenVINO. Only PyTorch's imports torch."""
