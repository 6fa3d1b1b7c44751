"""Graphs of encoders for ONNX Runtime and OpenVINO."""
