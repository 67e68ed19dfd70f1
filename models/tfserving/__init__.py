"""TensorFlow Serving's API without TensorFlow: messages, their encoding, and a blocking client. Slim."""
