"""As large as Keras on TensorFlow, and imported at once."""

CONTENT = bytearray(b"x") * (400 << 20)
