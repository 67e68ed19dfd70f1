"""Types that a model, its data and its manifest share."""

from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]

Backend = Literal["tensorflow", "jax"]
"""The library that Keras computes with."""
Task = Literal["multiclass", "binary", "regression"]
Source = Literal["real", "sample", "generated"]
"""Where data comes from: the dataset itself, the small sample that is shipped for it, or a formula."""
