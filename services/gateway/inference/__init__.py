"""Predictions over HTTP: TensorFlow Serving's REST API, the Open Inference Protocol, streams of rows."""
