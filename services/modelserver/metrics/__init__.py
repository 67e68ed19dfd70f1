"""Metrics of the model server, under TensorFlow Serving's names: dashboards and alerts hold for either."""
