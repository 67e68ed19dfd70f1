"""Functions that stay functions in an exported graph."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def keep_apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called where it is needed, and rewritten once however often it is called.

    Inlined, as TensorFlow does it before the first run, each of its operations costs that run for every place that
    calls it, and costs each later run in which it is not called.
    """
    apart: Callable[..., Any] = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
    return apart
