"""Checkpoints to resume a run after its process was killed: one folder for each epoch, complete or not there.

    <folder>/epoch-0003/variables.npz     weights, optimiser and random state to resume training with
                        kept.weights.h5   the weights to export if training ended now
                        checkpoint.json   history and time so far; checksums of the other two; written last

Everything else follows from these: the best epoch, and the epochs since then. Keras's ``BackupAndRestore`` forgets the
state of its callbacks, so that a best model can be replaced by a worse one (keras-team/keras#17012).
"""

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from pydantic import BaseModel, ConfigDict

from modelyard.models.recipes import Recipe
from modelyard.models.registry.disk.atomic import flush, flush_tree, rename_no_replace
from modelyard.models.types import Array

VARIABLES, WEIGHTS, META = "variables.npz", "kept.weights.h5", "checkpoint.json"
EPOCH_FOLDERS = "epoch-[0-9]*"
MAX_CHECKPOINTS = 2
"""Checkpoints that are kept: the newest, and the one before in case the newest is damaged."""

History = tuple[dict[str, float], ...]


class Checkpoint(BaseModel):
    """Contents of ``checkpoint.json``."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")  # a loss may be NaN

    history: History = ()
    """Per finished epoch: loss and metrics on the training and (``val_``) validation split."""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    """Time of fitting so far, over all attempts."""
    started_from: int | None = None
    """The version whose weights training started from; None for random ones."""
    files: dict[str, str] = {}
    """SHA-256 by name."""

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the lowest validation loss, counted from 1; 0 before there is one."""
        losses = [epoch["val_loss"] for epoch in self.history]
        return 1 + losses.index(min(losses)) if losses else 0

    def export_epoch(self, recipe: Recipe) -> int:
        """The epoch whose weights are exported if training ends now."""
        return self.epoch if recipe.keep == "last" else self.best_epoch

    def is_finished(self, recipe: Recipe) -> bool:
        """Whether training is finished: all epochs done, or no better one for ``patience`` epochs."""
        stalled = recipe.patience and self.epoch > 1 and self.epoch - self.best_epoch >= recipe.patience
        return self.epoch >= recipe.epochs or bool(stalled)


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".partial-*"):
            shutil.rmtree(left, ignore_errors=True)

    def read_newest(self) -> Checkpoint:
        """The newest complete checkpoint, or an empty one; damaged ones are deleted."""
        for path in sorted(self._folder.glob(EPOCH_FOLDERS), reverse=True):
            try:
                found = Checkpoint.model_validate_json((path / META).read_bytes())
                if found.files == hash_files(path):
                    return found
            except (OSError, ValueError):
                pass  # deleted, as one whose checksums differ
            shutil.rmtree(path)
        return Checkpoint()

    def weights_path(self, epoch: int) -> Path:
        """The weights to export after this epoch."""
        return self._path(epoch) / WEIGHTS

    def restore(self, model: Any, epoch: int) -> bool:
        """Restores a compiled model to its state after ``epoch``; False, and no change, if it is another model."""
        with np.load(self._path(epoch) / VARIABLES, allow_pickle=False) as found:
            variables = dict(name_variables(model))
            if {name: variable.shape for name, variable in variables.items()} != read_shapes(found):
                return False
            for name, variable in variables.items():
                variable.assign(found[name])
        return True

    def write(self, model: Any, variables: Mapping[str, Array], meta: Checkpoint, *, keep: bool) -> None:
        """Writes the checkpoint of an epoch, unless an attempt that was taken for lost has written one.

        Args:
            variables: by the names of ``name_variables``.
            keep: whether the model's present weights are those to export; else the previous epoch's are.
        """
        partial = self._folder / f".partial-{secrets.token_hex(4)}"
        partial.mkdir()
        np.savez(partial / VARIABLES, allow_pickle=False, **variables)
        if keep:
            model.save_weights(partial / WEIGHTS)
        else:
            shutil.copyfile(self.weights_path(meta.epoch - 1), partial / WEIGHTS)
        meta = meta.model_copy(update={"files": hash_files(partial)})
        (partial / META).write_text(meta.model_dump_json())
        flush_tree(partial)
        if not rename_no_replace(partial, self._path(meta.epoch)):
            shutil.rmtree(partial)
        flush(self._folder)
        for path in self._folder.glob(EPOCH_FOLDERS):
            if path.name <= self._path(meta.epoch - MAX_CHECKPOINTS).name:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:04d}"


def name_variables(model: Any) -> Iterator[tuple[str, Any]]:
    """Every variable that the next batch depends on, with a name that is the same in every process."""
    for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
        for number, variable in enumerate(variables):
            yield f"{kind}/{number:04d}", variable


def copy_variables(model: Any) -> dict[str, Array]:
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in name_variables(model)}


def read_shapes(archive: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in archive.items()}


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of a checkpoint's files, by name."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (VARIABLES, WEIGHTS)}
