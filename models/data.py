"""Data in memory: examples in three parts, where they come from, and what they say of themselves."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.models.inputs import ModelInput, name_inputs
from modelyard.models.types import Array, Task

Inputs = Array | Mapping[str, Array]
"""Raw inputs of N examples: an array, or an array of each of several inputs by name."""


@dataclass(frozen=True)
class Split:
    """Raw inputs and targets of equal length.

    Inputs, by kind: images ``uint8 [N,H,W,C]``, texts, categories and dates ``object [N]`` of ``str``, vectors
    ``float32 [N,D]``, sequences ``float32 [N,T,D]``, numbers ``float32 [N]``. Targets, by task: class ids
    ``int32 [N]``; ``float32 [N,C]`` of 0 and 1 for several labels at once; ``float32 [N]`` or ``[N,K]`` for numbers;
    ``object [N]`` of ``str`` for texts.
    """

    x: Any
    """``Inputs``: a model's own functions know which."""
    y: Array

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Schema:
    """What a dataset says of itself, where the spec does not say it."""

    input: ModelInput
    task: Task
    labels: tuple[str, ...] = ()
    """Class names by id, or the names of several numbers; empty for one number. Known once the data is read."""


@dataclass(frozen=True)
class Splits:
    """The parts of a dataset. Choices are made on ``validation``; only evaluation uses ``test``."""

    train: Split
    validation: Split
    test: Split
    unlabelled: Array | None = None
    """Inputs without targets, for methods that can use them."""
    schema: Schema | None = None
    """Of data that describes itself, with its labels."""
    notes: tuple[str, ...] = ()
    """What reading left out, for people and the decision record: files that cannot be read, and the like."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a dataset: its name in the data folder, and where to fetch it (home page first, then mirrors)."""

    name: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Where examples come from."""

    name: str
    homepage: str
    read: Callable[[Path], Splits]
    """Reads the examples from a folder; raises ``CorruptData`` unless the decoded content is the published one, or
    ``InvalidData`` with the file, row or field that is wrong."""
    files: tuple[RemoteFile, ...] = ()
    """Files to fetch; empty if ``read`` generates the data, or reads the user's own."""
    sample: Callable[[], Splits] | None = None
    """The small stand-in shipped with the project, for machines that cannot reach the real files."""
    sample_name: str = ""
    own: bool = False
    """The user's own files: ``read`` and ``inspect`` get the folder of the model's file, not the data folder."""
    inspect: Callable[[Path], Schema] | None = None
    """Reads as little as it takes to tell inputs and task, when the spec is loaded; labels may be left out."""


def count_examples(x: Inputs) -> int:
    """Number of examples."""
    return len(next(iter(x.values())) if isinstance(x, Mapping) else x)


def take(x: Inputs, chosen: Any) -> Inputs:
    """The examples at some indices, or in a slice."""
    return {name: array[chosen] for name, array in x.items()} if isinstance(x, Mapping) else x[chosen]


def list_rows(x: Inputs) -> Iterator[Any]:
    """Each example's raw input, or its inputs by name."""
    if not isinstance(x, Mapping):
        yield from x
        return
    for row in zip(*x.values(), strict=True):
        yield dict(zip(x, row, strict=True))


def list_arrays(x: Inputs) -> list[Array]:
    """The arrays of raw inputs, in the order of their names."""
    return [x[name] for name in sorted(x)] if isinstance(x, Mapping) else [x]


def name_arrays(given: ModelInput, x: Inputs) -> dict[str, Array]:
    """Raw inputs by the names of their tensors."""
    return dict(x) if isinstance(x, Mapping) else dict.fromkeys(name_inputs(given), x)
