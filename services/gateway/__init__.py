"""The HTTP guard: Flask in front of the model server. Knows no model and imports no TensorFlow runtime."""
