"""The model store: versions on disk, and which of them serve. Slim: no Keras, no TensorFlow."""
