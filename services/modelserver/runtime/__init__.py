"""One SavedModel, run through TensorFlow's C API."""
