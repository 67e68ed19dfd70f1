"""A model's weights as constants of the exported graph. TensorFlow code.

What TensorFlow knows to be constant it computes once, when it loads the graph: a batch normalisation becomes a part of
the convolution before it, an LSTM's gates are put in order, and no operation reads a variable. Large weights, which are
looked up more than they are computed with, stay variables: a graph is held in memory more than once.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

LARGEST_BYTES = 2 * 1024 * 1024
"""Of one weight that becomes a constant."""
MOST_BYTES = 8 * 1024 * 1024
"""Of all together, in the order of the model."""


class ConstantWeights:
    """Runs a model's code with its weights as constants."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def run(self, call: Callable[[], Any]) -> Any:
        """What ``call`` returns. Where it changes a variable, such as a state or a seed, its weights are variables."""
        if not self._values:
            return call()
        scope, variables = keras.StatelessScope(state_mapping=self._values), self._model.variables
        given = [scope.get_current_value(each) for each in variables]
        with scope:
            found = call()
        found_values = [scope.get_current_value(each) for each in variables]
        is_changed = any(value is not before for value, before in zip(found_values, given, strict=True))
        return call() if is_changed else found

    @cached_property
    def _values(self) -> list[tuple[Any, Any]]:
        return choose_weights(self._model)


def choose_weights(model: Any) -> list[tuple[Any, Any]]:
    """Variables and their values, of those that are small enough."""
    found, total = [], 0
    with tf.init_scope():  # it may be asked while a graph is traced
        values = [np.asarray(variable.numpy()) for variable in model.weights]
    for variable, value in zip(model.weights, values, strict=True):
        if value.nbytes <= LARGEST_BYTES and total + value.nbytes <= MOST_BYTES:
            total += value.nbytes
            found.append((variable, value))
    return found
