"""The scheduler: canary analysis, drift, triggers, the steps of searches. Slim: no Keras, no TensorFlow."""
