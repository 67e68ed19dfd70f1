"""Publishes an exported version: writes its manifest and gives it a number."""

import hashlib
import importlib.metadata
import math
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models import backend
from modelyard.models.backend import current_backend
from modelyard.models.data import Inputs
from modelyard.models.errors import CorruptData
from modelyard.models.inputs import ModelInput, OneInput
from modelyard.models.recipes import Recipe
from modelyard.models.registry import reference
from modelyard.models.registry.cards import data_card, model_card
from modelyard.models.registry.cards.data_card import DataCard
from modelyard.models.registry.cards.model_card import CardRecord
from modelyard.models.registry.manifest import (
    BaselineRecord,
    CategoryLimits,
    DataRecord,
    DateLimits,
    Environment,
    ImageLimits,
    InputLimits,
    Manifest,
    NamedLimits,
    NumberLimits,
    OneLimits,
    RecipeRecord,
    SequenceLimits,
    SignatureSpec,
    TensorSpec,
    TextLimits,
    Training,
    VectorLimits,
    Verdict,
)
from modelyard.models.registry.pools.size import measure_size
from modelyard.models.registry.store import Store
from modelyard.models.registry.uncertainty.record import write_uncertainty
from modelyard.models.spec import Baseline, ModelSpec
from modelyard.models.types import Array, Source
from modelyard.pipeline.results import Evaluation, LoadedDataset, TrainedModel

EVALUATION = "assets.extra/evaluation.json"
EXAMPLE_CHARS = 200
PREDICT_METHOD = "tensorflow/serving/predict"
LIMITS: Mapping[str, type[Any]] = {
    "image": ImageLimits,
    "text": TextLimits,
    "vector": VectorLimits,
    "sequence": SequenceLimits,
    "number": NumberLimits,
    "category": CategoryLimits,
    "date": DateLimits,
}


def publish(
    store: Store,
    staged: Path,
    *,
    spec: ModelSpec,
    recipe_name: str,
    recipe: Recipe,
    data: LoadedDataset,
    trained: TrainedModel,
    evaluation: Evaluation,
    baseline: Baseline | None,
    verdict: Verdict,
    environment: Environment,
    job: str | None,
    attempt: int,
) -> Manifest:
    """Writes evaluation, reference and data card, then the manifest, then claims the next number.

    Raises:
        Superseded: another attempt of the job has taken over; no version appears.
        StorageFailed: the store cannot be written; no version appears.
    """
    (staged / EVALUATION).write_text(evaluation.model_dump_json(indent=1, exclude={"reference", "uncertainty"}))
    if evaluation.uncertainty:
        write_uncertainty(staged, evaluation.uncertainty)
    (staged / reference.FILE).write_text(evaluation.reference.model_dump_json(indent=1))
    if data.card:
        (staged / data_card.FILE).write_text(data.card.model_dump_json(indent=1))
    if words := make_card(spec, recipe_name, data.source):
        (staged / model_card.FILE).write_text(words.model_dump_json(indent=1))
    signatures = read_signatures(staged)
    weights_sha256 = hash_weights(trained.weights)

    def seal(version: int, files: dict[str, str]) -> Manifest:
        return Manifest(
            model=spec.name,
            version=version,
            task=spec.task,
            summary=spec.summary,
            created_at=datetime.now(UTC),
            input=make_input_limits(spec.input),
            labels=spec.labels,
            signatures=signatures,
            uncertainty=evaluation.uncertainty,
            on_atypical=spec.on_atypical,
            example=choose_example(data.splits.test.x),
            data=DataRecord(
                name=data.name,
                source=data.source,
                fingerprint=data.fingerprint,
                train=len(data.splits.train),
                validation=len(data.splits.validation),
                test=len(data.splits.test),
                feedback=data.feedback,
                **summarise_card(data.card),
            ),
            recipe=RecipeRecord(name=recipe_name, values=asdict(recipe)),
            training=Training(
                parameters=trained.parameters,
                epochs=len(trained.history),
                best_epoch=trained.best_epoch,
                history=tuple(dict(epoch) for epoch in trained.history),
                cpu_s=round(trained.cpu_s, 2),
                wall_s=round(trained.wall_s, 2),
                weights_sha256=weights_sha256,
                started_from=trained.started_from,
            ),
            metrics=evaluation.metrics | {f"feedback_{name}": value for name, value in evaluation.recent.items()},
            baseline=BaselineRecord(method=baseline.method, value=baseline.value) if baseline else None,
            verdict=verdict,
            environment=environment,
            job=job,
            pool=spec.pool,
            size=measure_size(staged),
            files=files,
        )

    return store.publish(staged, seal, job, attempt)


def make_card(spec: ModelSpec, recipe_name: str, source: Source) -> CardRecord | None:
    """The author's words; of the measured kinds, those of the recipe, unless the version is one of the sample."""
    if spec.card is None:
        return None
    words = asdict(spec.card)
    name, found = words.pop("measured"), None
    if name and spec.file and source != "sample":
        with suppress(CorruptData):  # it was read before the training, which is not lost if it is gone now
            found = model_card.choose_measured(model_card.read_measured(spec.file.parent / name), recipe_name)
    return CardRecord(**words, measured=found)


def summarise_card(card: DataCard | None) -> dict[str, Any]:
    """The fields of the manifest's ``DataRecord`` that a data card has."""
    if card is None:
        return {}
    return {"classes": card.count_classes(), "missing": dict(card.list_missing()), "warnings": card.warnings}


def make_input_limits(given: ModelInput) -> InputLimits:
    """What the gateway checks of one input, or of several by name."""
    if isinstance(given, Mapping):
        return NamedLimits(inputs={name: make_limits(kind) for name, kind in given.items()})
    return make_limits(given)


def make_limits(kind: OneInput) -> OneLimits:
    """The manifest's form of a kind of input: its fields of the same names."""
    limits = LIMITS[kind.kind]
    known = {name: value for name, value in vars(kind).items() if name in limits.model_fields}
    found: OneLimits = limits(**known)
    return found


def read_signatures(staged: Path) -> dict[str, SignatureSpec]:
    """The signatures of ``saved_model.pb``, inputs and outputs in order of name."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    return describe_signatures(SavedModel.FromString((staged / "saved_model.pb").read_bytes()).meta_graphs[0])


def describe_signatures(meta: Any) -> dict[str, SignatureSpec]:
    """The signatures of a ``MetaGraphDef``, inputs and outputs in order of name."""
    from modelyard.models.tfserving.messages import dtype_name

    def tensors(infos: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name=name,
                dtype=dtype_name(info.dtype),
                shape=None
                if info.tensor_shape.unknown_rank
                else tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim),
            )
            for name, info in sorted(infos.items())
        )

    return {
        name: SignatureSpec(
            inputs=tensors(definition.inputs),
            outputs=tensors(definition.outputs),
            method=definition.method_name or PREDICT_METHOD,
        )
        for name, definition in sorted(meta.signature_def.items())
        if not name.startswith("__")
    }


def choose_example(test: Inputs) -> Any:
    """One test input as it stands in a ``:predict`` body: a value, or an object of several."""
    if isinstance(test, Mapping):
        return {name: choose_value(values[:1]) for name, values in test.items()}
    return choose_value(test)


def choose_value(x: Array) -> Any:
    """The first value, or the first short text; None for a missing number."""
    if x.dtype == object:
        return next((str(text) for text in x if len(text) <= EXAMPLE_CHARS), str(x[0])[:EXAMPLE_CHARS])
    value = x[0].tolist()
    return None if isinstance(value, float) and math.isnan(value) else value


def hash_weights(weights: Path) -> str:
    """SHA-256 over names, shapes and values of all weights; the file's bytes would include times."""
    import h5py

    total = hashlib.sha256()

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            total.update(f"{name}{item.dtype}{item.shape}".encode())
            total.update(np.ascontiguousarray(item[()]).tobytes())

    with h5py.File(weights) as file:
        file.visititems(add)
    return total.hexdigest()


def describe_environment(device: str, code: str, *, computes: bool = True) -> Environment:
    """The software and device of this process, which trained the version of this revision of code.

    Args:
        computes: whether this process computes: one that imports a version does not.
    """
    version = importlib.metadata.version
    used = current_backend() if computes else backend.DEFAULT
    return Environment(
        code=code,
        python=platform.python_version(),
        tensorflow=backend.tensorflow_version() or "",
        keras=version("keras"),
        jax=version("jax") if used == "jax" else None,
        numpy=version("numpy"),
        backend=used,
        device=device,
    )
