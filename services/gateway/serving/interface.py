"""How one version is called: all that the gateway needs to know of it, published or external."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelyard.models.registry.manifest import InputLimits, Manifest, SignatureSpec, TensorSpec
from modelyard.models.registry.rollout import Canary, Shadow
from modelyard.models.tfserving.messages import dtype_name, get_model_metadata_pb2

CLASS_ID, PROBABILITIES = "class_id", "probabilities"
"""Outputs of a classifier, whose rows have labels: int64 [n] and float32 [n, classes]."""
INIT_OP = "__saved_model_init_op"
"""What TensorFlow lists among the signatures, and runs itself when it loads a model; it cannot be called."""


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
    """Limits of one input, by its kind; None without a manifest."""
    labels: tuple[str, ...]
    """Names of the classes, in order of their index; empty where there are none."""
    source: str | None
    """``real``, ``sample`` or ``generated`` data; None without a manifest."""
    batches: bool
    """Whether requests may share one run of the model: each row's outputs depend on that row alone."""
    max_batch: int | None = None
    """Largest number of rows in one call, if a measured plan sets one."""
    tracks_latest: bool = False
    """The model server takes its newest version at each call; ``version`` was it when the metadata was read."""
    experiment: Experiment | None = None
    """The canary and shadow to compare this version with, if the rollout chose it and has some."""

    def pin(self) -> "Interface":
        """This version, for a request that takes several calls: all its responses come from one."""
        return replace(self, tracks_latest=False)


def published_interface(manifest: Manifest) -> Interface:
    """Of a published version. Its rows are independent: the pipeline compared each with the trainer's outputs."""
    return Interface(
        manifest.model,
        manifest.version,
        manifest.signatures,
        manifest.input,
        manifest.labels,
        manifest.data.source,
        batches=True,
    )


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
