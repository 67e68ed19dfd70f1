"""The HTTP gateway: Flask before the model servers. Knows no model and imports no TensorFlow runtime."""
