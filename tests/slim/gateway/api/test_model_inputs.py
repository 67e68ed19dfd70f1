"""What a model takes, as people read it, and examples that work as they are printed."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.manifest import ImageLimits, Manifest, VectorLimits
from modelyard.models.registry.store import Store
from modelyard.services.cli.examples import make_predict_line
from modelyard.services.gateway.api.versions.usage import describe_inputs
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, publish
from tests.support.named_models import CHURN, FUNCTIONS, MANIFESTS, PAIR, ROW, SIZES, TAGS, WRITER
from tests.support.versions import seal_as

PIXELS = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]]
EXAMPLES: dict[str, Any] = {
    CHURN: {**ROW, "city": None},
    PAIR: {"photo": PIXELS, "caption": "a cat", "weights": [1.0, 2.0, 3.0]},
    TAGS: "they fight",
    SIZES: [1.0, 2.0, 3.0],
    WRITER: "hello",
}


@pytest.fixture(autouse=True)
def served(filled: Store, server: FakeModelServer) -> None:
    for model, example in EXAMPLES.items():
        server.loaded.add((model, publish(filled, model, **MANIFESTS[model], example=example)))
        server.functions[model] = FUNCTIONS[model]


def test_inputs_are_described_by_name(client: FlaskClient) -> None:
    """With their kind, their title in the data, whether they may be missing, and the values of a category."""
    usage = client.get(f"/api/models/{CHURN}").json["usage"]
    assert usage["version"] == 1
    assert [entry["name"] for entry in usage["inputs"]] == [*ROW]
    plan, length = usage["inputs"][1], usage["inputs"][-1]
    assert plan == {
        "name": "plan",
        "title": "plan",
        "kind": "category",
        "missing": False,
        "values": ["basic", "gold"],
        "limits": {},
    }
    assert (length["title"], length["missing"], length["values"]) == ("petal length (cm)", True, None)
    (pixels,) = client.get(f"/api/models/{DIGITS}").json["usage"]["inputs"]
    assert (pixels["kind"], pixels["limits"]["height"]) == ("image", 28)


@pytest.mark.parametrize("model", [*EXAMPLES, HALF_PLUS])
def test_an_example_works_as_it_is(client: FlaskClient, model: str) -> None:
    """Sent as a body of ``:predict``; images in it are files."""
    body = client.get(f"/api/models/{model}").json["usage"]["example"]
    answer = client.post(f"/v1/models/{model}:predict", data=json.dumps(body))
    assert answer.status_code == 200, answer.text
    if model == PAIR:
        assert body["signature_name"] == "image_bytes"
        assert set(body["instances"][0]) == {"photo_bytes", "caption", "weights"}


@pytest.mark.parametrize("model", [*EXAMPLES, HALF_PLUS, REVIEWS])
def test_a_printed_command_works_as_it_is(client: FlaskClient, filled: Store, tmp_path: Path, model: str) -> None:
    """Whatever the model takes and answers."""
    line = make_predict_line(filled.manifest(model, filled.versions(model)[-1]), tmp_path, "http://host")
    words = shlex.split(line)
    headers = dict([words[words.index("-H") + 1].split(": ")])
    given = words[words.index("-d") + 1] if "-d" in words else words[words.index("--data-binary") + 1]
    body = Path(given[1:]).read_bytes() if given.startswith("@") else given.encode()
    answer = client.post(words[-1].removeprefix("http://host"), data=body, headers=headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_image_of_each_kind_is_printed_as_a_file(tmp_path: Path, channels: int) -> None:
    """Grey, in colour, and with transparency."""
    fields = {"input": ImageLimits(height=2, width=2, channels=channels), "example": [[[9] * channels] * 2] * 2}
    manifest: Manifest = seal_as("m", **fields)(1, {})
    line = make_predict_line(manifest, tmp_path, "http://host")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert "Content-Type: image/png" in line


def test_an_example_of_very_many_numbers_is_left_out(client: FlaskClient, filled: Store) -> None:
    """Nobody would paste it."""
    publish(filled, SIZES, **{**MANIFESTS[SIZES], "input": VectorLimits(size=10_000)}, example=[0.0] * 10_000)
    assert client.get(f"/api/models/{SIZES}").json["usage"]["example"] is None


def test_a_damaged_version_has_no_usage(client: FlaskClient, filled: Store) -> None:
    """The rest of the record is there."""
    (filled.path(CHURN, 1) / "assets.extra" / "manifest.json").write_text("{")
    record = client.get(f"/api/models/{CHURN}").json
    assert record["usage"] is None
    assert "error" in record["versions"][0]


def test_tensors_are_listed_where_nothing_else_is_known() -> None:
    """Of an imported version, whose manifest says no more of its inputs than its signatures."""
    found = describe_inputs(seal_as(CHURN, **{**MANIFESTS[CHURN], "input": None})(1, {}))
    assert [(entry.name, entry.kind) for entry in found] == [(name, "tensor") for name in sorted(ROW)]
    assert found[0].limits == {"dtype": "float32", "shape": "[n]"}


def test_many_values_are_cut_short() -> None:
    """A hundred are enough to see what they are."""
    fields = {**MANIFESTS[CHURN]}
    plan = fields["input"].inputs["plan"].model_copy(update={"values": tuple(map(str, range(1000)))})
    fields["input"] = fields["input"].model_copy(update={"inputs": {**fields["input"].inputs, "plan": plan}})
    values = describe_inputs(seal_as(CHURN, **fields)(1, {}))[1].values
    assert values is not None
    assert len(values) == 100
