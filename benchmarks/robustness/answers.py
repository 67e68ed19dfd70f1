"""A version's answers to files or texts: from its folder, or through a running gateway."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from modelyard.models.types import Array

BATCH = 32
TIMEOUT_MS = 30_000
"""For a batch of texts on a machine that has other work: nothing is timed here."""


@dataclass(frozen=True)
class Answers:
    """A row of each output for each input."""

    outputs: Mapping[str, Array]

    @property
    def probabilities(self) -> Array:
        """``float [N,classes]``; of a single score, those of both classes."""
        scores = self.outputs["probabilities"] if "probabilities" in self.outputs else self.outputs["probability"]
        if scores.ndim > 1 and scores.shape[1] > 1:
            return scores
        positive = scores.reshape(-1)
        return np.stack([1 - positive, positive], axis=1)

    @property
    def classes(self) -> Array:
        chosen: Array = np.argmax(self.probabilities, axis=1)
        return chosen

    @property
    def confidence(self) -> Array:
        """Of the class that is answered."""
        highest: Array = np.max(self.probabilities, axis=1)
        return highest

    @property
    def atypicality(self) -> Array | None:
        """``float [N]``: above 1 an input is not typical; None where the version does not say."""
        return self.outputs.get("atypicality")

    @property
    def flagged(self) -> Array | None:
        """``bool [N]``."""
        return None if "typical" not in self.outputs else ~self.outputs["typical"].astype(bool)

    def __getitem__(self, chosen: slice | Array) -> Self:
        return type(self)({name: values[chosen] for name, values in self.outputs.items()})


Ask = Callable[[Sequence[Any]], Answers]
"""Files (``bytes``) or texts (``str``) -> answers."""


def ask_version(folder: Path, size: int = BATCH) -> Ask:
    """Calls the signature of a SavedModel in this process: ``image_bytes`` for files, else ``serving_default``.

    Args:
        size: inputs that are asked about at once.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signatures = loaded.signatures

    def ask_batch(inputs: Sequence[Any]) -> Mapping[str, Array]:
        signature = signatures["image_bytes" if isinstance(inputs[0], bytes) else "serving_default"]
        (name,) = signature.structured_input_signature[1]
        outputs = signature(**{name: tf.constant(list(inputs))})
        return {name: values.numpy() for name, values in outputs.items()}

    def ask(inputs: Sequence[Any]) -> Answers:
        kept_alive = loaded  # a signature without its model loses its variables
        assert kept_alive
        return _join(ask_batch(batch) for batch in _batches(inputs, size))

    return ask


def ask_gateway(url: str, model: str, key: str | None = None) -> Ask:
    """Asks ``POST /v1/models/MODEL:predict``, whose answer holds all outputs."""
    import httpx

    patience = {"X-Timeout-Ms": str(TIMEOUT_MS)}
    client = httpx.Client(
        base_url=url, timeout=60, headers=patience | ({"Authorization": f"Bearer {key}"} if key else {})
    )

    def ask_batch(inputs: Sequence[Any]) -> Mapping[str, Array]:
        is_files = isinstance(inputs[0], bytes)
        instances = [{"b64": base64.b64encode(each).decode()} for each in inputs] if is_files else list(inputs)
        body = {"signature_name": "image_bytes" if is_files else "serving_default", "instances": instances}
        response = client.post(f"/v1/models/{model}:predict", json=body)
        if response.is_error:
            raise SystemExit(f"{response.status_code} {response.text}")
        rows = response.json()["predictions"]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    return lambda inputs: _join(ask_batch(batch) for batch in _batches(inputs))


def _batches(inputs: Sequence[Any], size: int = BATCH) -> Iterator[Sequence[Any]]:
    return (inputs[start : start + size] for start in range(0, len(inputs), size))


def _join(batches: Iterator[Mapping[str, Array]]) -> Answers:
    rows = list(batches)
    return Answers({name: np.concatenate([each[name] for each in rows]) for name in rows[0]})
