"""Types that a model, its data and its manifest share."""

from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]

Backend = Literal["tensorflow", "jax"]
"""What Keras computes with."""
Task = Literal["multiclass", "binary", "regression"]
Source = Literal["real", "sample", "generated"]
"""Of data: the dataset itself, the small stand-in that is shipped for it, or made up by a formula."""
