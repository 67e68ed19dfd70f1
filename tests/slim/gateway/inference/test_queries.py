"""Queries of predictions: each name is known, and given once."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.fakes import HALF_PLUS, REVIEWS, FakeModelServer

V1, V2 = f"/v1/models/{REVIEWS}", f"/v2/models/{REVIEWS}"
TEXT: dict[str, Any] = {"data": "good", "content_type": "text/plain"}
ROWS: dict[str, Any] = {"json": {"instances": ["good"]}}
EXAMPLES: dict[str, Any] = {"json": {"examples": [{"a": 1}]}}
LINES: dict[str, Any] = {"data": '"good"\n', "content_type": "application/jsonl"}
TENSOR = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}
OF_BODIES, OF_LINES = "there are labels, explain", "there are labels, explain, signature_name"


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        (f"{V1}:predict?explian=1", TEXT, f"unknown parameter 'explian'; {OF_BODIES}"),
        (f"{V1}/versions/1:predict?label=true", ROWS, f"unknown parameter 'label'; {OF_BODIES}"),
        (f"{V1}:predict?signature_name=explain", ROWS, f"unknown parameter 'signature_name'; {OF_BODIES}"),
        (f"{V1}:predict?labels=true&signature=x", LINES, f"unknown parameter 'signature'; {OF_LINES}"),
        (f"{V1}:predict?Labels=true", {"data": {"a": "good"}}, f"unknown parameter 'Labels'; {OF_BODIES}"),
        (f"{V1}:predict?labels=true&labels=scores", ROWS, "labels: expected once, received 2 times"),
        (f"{V1}:classify?labels=true", EXAMPLES, "unknown parameter 'labels'; there are none"),
        (f"{V1}:regress?a=", EXAMPLES, "unknown parameter 'a'; there are none"),
        (f"{V2}/infer?explain=1", {"json": {"inputs": [TENSOR]}}, "unknown parameter 'explain'; there are none"),
    ],
)
def test_unknown_parameters_are_refused(
    shared_client: FlaskClient, shared_server: FakeModelServer, path: str, body: dict[str, Any], text: str
) -> None:
    """Whatever the route and the body, with those that there are: nobody looks for what a typing error left out."""
    refused = shared_client.post(path, **body)
    assert (refused.status_code, refused.json["error"]) == (400, text)
    assert not shared_server.calls


def test_metadata_knows_its_parameter_alone(shared_client: FlaskClient) -> None:
    """The signature, by the name that it has elsewhere."""
    path = f"/v2/models/{HALF_PLUS}"
    assert shared_client.get(f"{path}?signature_name=serving_default").status_code == 200
    refused = shared_client.get(f"{path}?signature=serving_default")
    assert (refused.status_code, refused.json["error"]) == (
        400,
        "unknown parameter 'signature'; there are signature_name",
    )
