"""Which examples uncertainty is learned from: those that fitting chose nothing on, and some of training's."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from modelyard.models.data import Inputs, Split, Splits, list_arrays, take
from modelyard.models.inputs import TextInput
from modelyard.models.recipes import Recipe
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array

SMALLEST_HALVED = 40
"""Validation examples below which half of them would promise nothing."""
TOO_FEW = 18
"""Examples of which no promise is made: a set that holds the truth in 95 % of cases takes 19."""
MAX_CALIBRATION, MAX_TRAIN = 20_000, 20_000
"""Of 5,000 training examples, letters were told from digits less well: the features have hundreds of numbers."""
MAX_BYTES, FEWEST = 256 * 1024 * 1024, 500
"""Of large pictures as many as take so much memory, but not fewer than this."""
MAX_TEXTS, MAX_SPANS = 1_500, 1_000
"""Of training texts, and of parts of texts: a text takes as long as many rows."""
SPAN_WORDS = 30
SEED = 20211207


def hold_back(spec: ModelSpec, splits: Splits, recipe: Recipe) -> tuple[Splits, Split]:
    """What fitting sees, and the calibration examples.

    Where fitting chooses an epoch on the validation split, half of it is held back: what was chosen on an example says
    too much of it. Where it keeps the last epoch, all of it is untouched.
    """
    whole = splits.validation
    count = len(whole)
    if spec.signatures:
        return splits, _take(whole, slice(0))
    if spec.fit is None and recipe.keep == "last" and not recipe.patience:
        return splits, whole
    if count < SMALLEST_HALVED:
        return splits, _take(whole, slice(TOO_FEW))
    order = np.random.default_rng(SEED).permutation(count)
    first, second = (np.sort(part) for part in np.array_split(order, 2))
    return replace(splits, validation=_take(whole, first)), _take(whole, second)


def choose_calibration(calibration: Split) -> Split:
    """All calibration examples, or as many as tell enough."""
    return _choose(calibration, MAX_CALIBRATION)


def choose_training(train: Split) -> Split:
    """Some training examples, at random; of texts also parts, with the targets of the whole."""
    if not _is_text(train.x):
        return _choose(train, MAX_TRAIN)
    some = _choose(train, MAX_TEXTS)
    return Split(add_spans(some.x), np.concatenate([some.y, some.y[_space_evenly(len(some))]]))


def choose_seen(spec: ModelSpec, train: Split, batches: Any) -> Split | None:
    """As many training examples as fitting saw them: varied, with the copies that were added.

    What a model was shown is typical, though no raw example looks like it.

    Args:
        batches: of fitting, a ``keras.utils.PyDataset``.

    Returns:
        None where a model does not take raw inputs, or its targets are not those of the examples.
    """
    if spec.fit or spec.encode or isinstance(spec.input, TextInput):
        return None
    first = _read_batch(spec, train, batches[0]) if len(batches) else None
    if not first:
        return None
    wanted = -(-len(choose_training(train)) // len(first))
    chosen = np.unique(np.linspace(0, len(batches) - 1, min(wanted, len(batches))).astype(int))
    parts = [found for index in chosen if (found := _read_batch(spec, train, batches[index]))]
    return _choose(_join(parts), MAX_TRAIN)


def _read_batch(spec: ModelSpec, train: Split, batch: Any) -> Split | None:
    """A batch of fitting ``(x, y, ...)``, if it is made of raw inputs."""
    if not isinstance(batch, tuple | list) or len(batch) < 2:  # noqa: PLR2004  # inputs and targets
        return None
    x, y = batch[:2]
    raw, seen = _name_arrays(train.x), _name_arrays(x)
    if raw.keys() != seen.keys() or any(seen[name].shape[1:] != raw[name].shape[1:] for name in raw):
        return None
    targets = _read_classes(y) if spec.task in ("multiclass", "binary") else np.asarray(y)
    if targets is None or not targets.shape or len(targets) != len(next(iter(seen.values()))):
        return None
    return Split({name: seen[name] for name in raw} if isinstance(train.x, Mapping) else seen[""], targets)


def _read_classes(y: Any) -> Array | None:
    """``int32 [N]``; None if these are no class ids."""
    given: Array = np.asarray(y)
    if given.dtype.kind not in "biuf":
        return None
    classes = given.reshape(-1).astype(np.int32)
    return classes if np.array_equal(classes, given.reshape(-1)) else None


def _name_arrays(x: Any) -> dict[str, Array]:
    return {name: np.asarray(values) for name, values in (x if isinstance(x, Mapping) else {"": x}).items()}


def _join(parts: list[Split]) -> Split:
    x = [_name_arrays(part.x) for part in parts]
    whole = {name: np.concatenate([each[name] for each in x]) for name in x[0]}
    return Split(whole if isinstance(parts[0].x, Mapping) else whole[""], np.concatenate([part.y for part in parts]))


def add_spans(x: Inputs) -> Inputs:
    """Texts, and a few words in a row of some of them: short texts are no less typical. Others as they are."""
    if isinstance(x, Mapping) or not _is_text(x):
        return x
    random = np.random.default_rng(SEED)
    return np.concatenate([x, np.array([_cut(text, random) for text in x[_space_evenly(len(x))]], dtype=object)])


def _space_evenly(count: int) -> Array:
    """Indices of at most ``MAX_SPANS`` of them: a data set may be in order of its classes."""
    return np.linspace(0, count - 1, min(count, MAX_SPANS)).astype(int)


def _cut(text: str, random: np.random.Generator) -> str:
    words = text.split()
    length = int(random.integers(1, SPAN_WORDS + 1))
    start = int(random.integers(0, max(1, len(words) - length + 1)))
    return " ".join(words[start : start + length])


def _is_text(x: Inputs) -> bool:
    return not isinstance(x, Mapping) and x.dtype == object


def _choose(split: Split, most: int) -> Split:
    size = sum(array.nbytes for array in list_arrays(split.x)) // max(1, len(split))
    most = min(most, max(FEWEST, MAX_BYTES // max(1, size)))
    if len(split) <= most:
        return split
    return _take(split, np.sort(np.random.default_rng(SEED).permutation(len(split))[:most]))


def _take(split: Split, chosen: slice | Array) -> Split:
    return Split(take(split.x, chosen), split.y[chosen])
