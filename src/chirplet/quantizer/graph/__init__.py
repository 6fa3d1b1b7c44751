"""Graphs of classifiers for ONNX Runtime and OpenVINO."""
