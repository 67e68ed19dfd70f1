"""What stands in the place of an input that is taken out: values that the training split has. Numpy alone."""

from collections.abc import Mapping

import numpy as np

from modelyard.models.data import Inputs, count_examples, name_arrays, take
from modelyard.models.inputs import ImageInput, ModelInput, OneInput, SequenceInput, TextInput, name_inputs
from modelyard.models.types import Array

Background = Mapping[str, Array]
"""By input: values ``[K,...]`` that take its place in turn, their differences averaged; the colour ``[C]`` of images.
Texts have none: their words are left out."""

VALUES = 8
"""Of one column."""
MAX_EXAMPLES, MAX_LARGE = 10_000, 200
"""Examples that are looked at: of columns and vectors, of images and sequences."""


def learn_background(given: ModelInput, x: Inputs) -> Background:
    """Evenly spaced quantiles of each column; the median colour of images, and the median step of sequences.

    Args:
        x: raw examples.
    """
    kinds = name_inputs(given)
    is_large = any(isinstance(kind, ImageInput | SequenceInput) for kind in kinds.values())
    count = count_examples(x)
    chosen = np.linspace(0, count - 1, min(count, MAX_LARGE if is_large else MAX_EXAMPLES)).astype(int)
    arrays = name_arrays(given, take(x, chosen))
    return {name: summarise(kind, arrays[name]) for name, kind in kinds.items() if not isinstance(kind, TextInput)}


def summarise(kind: OneInput, values: Array) -> Array:
    """The background of one input."""
    if isinstance(kind, ImageInput):
        colour: Array = np.median(values.reshape(-1, kind.channels), axis=0).astype(np.float32)
        return colour
    if isinstance(kind, SequenceInput):
        step: Array = np.nanmedian(values.reshape(-1, kind.size), axis=0)[None].astype(np.float32)
        return step
    places = ((np.arange(VALUES) + 0.5) / VALUES * len(values)).astype(int)
    ordered: Array = np.sort(values, axis=0)[places]
    return ordered if ordered.dtype == object else ordered.astype(np.float32)
