"""Model servers that are started with ``--strict``, and how they are asked."""

from functools import partial

import pytest

from modelyard.models.tfserving.messages import get_model_metadata_pb2
from tests.support.modelserver import (
    TIMEOUT_S,
    Serve,
    Served,
    X,
    request,
)

NO_RETRIES = {"max_num_load_retries": 0}
LABELS = {"allow_version_labels_for_unavailable_models": True}


@pytest.fixture
def strict(serve: Serve) -> Serve:
    return partial(serve, strict=True, **NO_RETRIES)


def version_of(served: Served, model: str = "m", label: str = "") -> int:
    """The version that answers a call without a number."""
    reply = served.prediction.Predict(request(model, x=X, label=label), timeout=TIMEOUT_S)
    return int(reply.model_spec.version.value)


def described_version(served: Served, model: str = "m", label: str = "") -> int:
    """The version whose metadata such a call gets."""
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.CopyFrom(request(model, label=label).model_spec)
    reply = served.prediction.GetModelMetadata(message, timeout=TIMEOUT_S)
    return int(reply.model_spec.version.value)
