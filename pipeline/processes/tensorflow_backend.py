"""Imported for its effect, before whatever imports Keras: this process computes with TensorFlow."""

from modelyard.models.backend import DEFAULT, use_backend

use_backend(DEFAULT)
