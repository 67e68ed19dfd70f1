"""The example of this name, trained on what ships with the project."""

from modelyard.models.zoo.sentiment_lstm import SPEC

__all__ = ["SPEC"]
