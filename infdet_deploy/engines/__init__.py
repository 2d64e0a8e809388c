"""ONNX stages → TensorRT engines: built on the device, or for RTX GPUs on any machine. No torch."""
