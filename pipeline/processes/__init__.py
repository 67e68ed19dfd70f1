"""Processes of a job: forks that have Keras imported, and stages in them."""
