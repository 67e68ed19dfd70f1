"""The example of this name, trained on what ships with the project."""

from modelyard.models.zoo.mnist_mlp import SPEC

__all__ = ["SPEC"]
