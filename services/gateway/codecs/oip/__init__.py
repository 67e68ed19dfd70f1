"""The Open Inference Protocol's bodies: JSON and binary tensors."""
