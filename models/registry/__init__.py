"""The model store: versions on disk, and their rollout. Slim: no Keras, no TensorFlow."""
