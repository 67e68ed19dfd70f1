"""How one version is called: all that the gateway needs to know of it, published or external."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from modelyard.models.registry.inputs.input_table import InputTable, build_tables
from modelyard.models.registry.manifest import (
    InputLimits,
    Manifest,
    NamedLimits,
    OneLimits,
    SignatureSpec,
    TensorSpec,
)
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.roles.shadow import Shadow
from modelyard.models.tfserving.messages import dtype_name, get_model_metadata_pb2
from modelyard.models.types import Array, OnAtypical

CLASS_ID, PROBABILITIES = "class_id", "probabilities"
"""Outputs of a classifier, whose rows have labels: int64 [n] and float32 [n, classes]. Where a row may have several
labels, there are only the latter."""
TYPICAL, ATYPICALITY, PREDICTION_SET = "typical", "atypicality", "prediction_set"
"""What a version says of its own uncertainty: bool [n]; float32 [n], above 1 where an input is not typical; and int32
[n, classes], the smallest coverage in percent whose set holds the class."""
INTERVAL = "interval_"
"""Begins the names of outputs float32 [n, numbers, 2], which end in the coverage."""
VALUE, TEXT = "value", "text"
"""Outputs of other models: numbers [n, numbers], and strings [n]."""
IMPORTED = "imported"
"""The origin of an imported version, in the place of its data's."""
EXPLAIN, EXPLAIN_BYTES = "explain", "explain_bytes"
"""Signatures of versions of the pipeline that say why: weights of the parts of an input, of pixels or of files."""
EXPLAINED_BY: Mapping[str, str] = {"serving_default": EXPLAIN, "image_bytes": EXPLAIN_BYTES}
"""By signature, the one that takes the same inputs, and explains its answer."""
WEIGHTS = "weights"
"""What explanations have among their outputs."""
INIT_OP = "__saved_model_init_op"
"""What TensorFlow lists among the signatures, and runs itself when it loads a model; it cannot be called."""


def is_uncertainty(output: str) -> bool:
    """Whether this output says how sure an answer is, and is not itself the answer."""
    return output in (TYPICAL, ATYPICALITY, PREDICTION_SET) or output.startswith(INTERVAL)


@dataclass(frozen=True)
class Experiment:
    """The canary and the shadow of a rollout, with which the stable version is compared."""

    canary: Canary | None
    shadow: Shadow | None


@dataclass(frozen=True)
class Interface:
    """One version as clients see it."""

    model: str
    version: int
    signatures: Mapping[str, SignatureSpec]
    input: InputLimits | None
    """Limits of the input, by its kind, or of several by name; None without a manifest, and of imported versions."""
    labels: tuple[str, ...]
    """Names of the classes, in order of their index, or of several numbers; empty where there are none."""
    source: str | None
    """``real``, ``sample`` or ``generated`` data, or ``imported``; None without a manifest."""
    batches: bool
    """Whether requests may share one run of the model: each row's outputs depend on that row alone."""
    probabilities: str | None = None
    """Output with the probabilities of the classes where that is not ``probabilities``, beside ``class_id``."""
    on_atypical: OnAtypical | None = None
    """What forms in words answer to an input that is not typical; None of versions that say nothing of uncertainty."""
    max_batch: int | None = None
    """Largest number of rows in one call, if a measured plan sets one."""
    tracks_latest: bool = False
    """The model server takes its newest version at each call; ``version`` was it when the metadata was read."""
    experiment: Experiment | None = None
    """The canary and shadow to compare this version with, if the rollout chose it and has some."""
    tables: Mapping[str, InputTable] = field(default_factory=dict)
    """By signature, its inputs where they have names and kinds of their own."""

    def find_limits(self, signature: str, tensor: str) -> OneLimits | None:
        """What is known of one input of a signature."""
        if (table := self.tables.get(signature)) is not None:
            return table.by_tensor[tensor].limits
        return None if isinstance(self.input, NamedLimits) else self.input

    def is_explanation(self, signature: str) -> bool:
        """Whether a signature explains answers, in many runs, and is none by which the model answers."""
        return signature in (EXPLAIN, EXPLAIN_BYTES) and self.input is not None

    def list_answering(self) -> dict[str, SignatureSpec]:
        """The signatures by which it answers."""
        return {name: spec for name, spec in self.signatures.items() if not self.is_explanation(name)}

    def find_explanation(self, signature: str) -> str | None:
        """The signature that explains what this one answers; None if this version has none."""
        name = EXPLAINED_BY.get(signature, "")
        found = self.signatures.get(name) if self.is_explanation(name) else None
        return name if found and WEIGHTS in {spec.name for spec in found.outputs} else None

    def pin(self) -> "Interface":
        """This version, for a request that takes several calls: all its responses come from one."""
        return replace(self, tracks_latest=False)


def published_interface(manifest: Manifest) -> Interface:
    """Of a published version. The pipeline compared rows with what the model answers to them."""
    return Interface(
        manifest.model,
        manifest.version,
        manifest.signatures,
        manifest.input,
        manifest.labels,
        manifest.data.source if manifest.data else IMPORTED,
        batches=manifest.batches,
        probabilities=manifest.probabilities,
        on_atypical=manifest.on_atypical if manifest.uncertainty else None,
        tables=build_tables(manifest.input, manifest.signatures) if manifest.input else {},
    )


def read_classes(outputs: Mapping[str, Array], probabilities: str | None) -> tuple[Array, Array] | None:
    """Classes ``[n]`` and their probabilities ``[n, classes]``; None where outputs have none.

    Args:
        probabilities: the interface's. The likeliest class is the answer, as the graph has none; of a single column,
            which is the second of two classes, the first is what it leaves of 1.
    """
    if probabilities is None or CLASS_ID in outputs:
        found = outputs.get(CLASS_ID), outputs.get(PROBABILITIES)
        return None if found[0] is None or found[1] is None else (found[0], found[1])
    scores = outputs.get(probabilities)
    if scores is None or not scores.ndim:
        return None
    if scores.ndim == 1 or scores.shape[1:] == (1,):
        second = scores.reshape(-1, 1)
        scores = np.concatenate([1 - second, second], axis=1)
    return scores.argmax(axis=-1), scores


def external_interface(
    reply: get_model_metadata_pb2.GetModelMetadataResponse, *, batches: bool, tracks_latest: bool
) -> Interface:
    """Of an external model, by the model server's metadata."""
    found = get_model_metadata_pb2.SignatureDefMap()
    reply.metadata["signature_def"].Unpack(found)
    signatures = {
        name: SignatureSpec(
            inputs=_tensor_specs(signature.inputs),
            outputs=_tensor_specs(signature.outputs),
            method=signature.method_name,
        )
        for name, signature in found.signature_def.items()
        if name != INIT_OP and (signature.inputs or signature.outputs)
    }
    return Interface(
        reply.model_spec.name,
        reply.model_spec.version.value,
        signatures,
        input=None,
        labels=(),
        source=None,
        batches=batches,
        tracks_latest=tracks_latest,
    )


def _tensor_specs(infos: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, dtype=dtype_name(info.dtype), shape=_shape_of(info.tensor_shape))
        for name, info in sorted(infos.items())
    )


def _shape_of(found: Any) -> tuple[int | None, ...] | None:
    return None if found.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in found.dim)
