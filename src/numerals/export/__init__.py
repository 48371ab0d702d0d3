"""A run as an ONNX model and its card."""
