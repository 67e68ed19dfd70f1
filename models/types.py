"""Types that a model, its data and its manifest share."""

from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]

Backend = Literal["tensorflow", "jax"]
"""The library that Keras computes with."""
Task = Literal["multiclass", "binary", "multilabel", "regression", "text", "custom"]
"""What is predicted: one of several classes, yes or no, any of several labels, numbers, a text; or what the model's own
``signatures`` return."""
Source = Literal["real", "sample", "generated"]
"""Where data comes from: the dataset itself, the small sample that is shipped for it, or a formula."""
OnAtypical = Literal["answer", "flag", "refuse"]
"""What becomes of an input unlike those of training: an answer that does not say so, one that does, or none."""
Direction = Literal["higher", "lower"]
"""Whether more or less of a metric is better."""
DEFAULT_POOL = "default"
"""The pool of model servers that is always there; a model is in it unless its spec, or a person, names another one."""
POOL_PATTERN = r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?"
"""Names of pools: they stand in names of files, and of services in Kubernetes (RFC 1123, shorter)."""
