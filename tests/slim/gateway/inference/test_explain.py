"""``?explain=1``, and the signatures ``explain`` and ``explain_bytes`` themselves."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.registry.store import Store
from modelyard.models.types import Array
from tests.support.fakes import DIGITS, KINDS, REVIEWS, FakeModelServer, encoded, publish
from tests.support.named_models import CHURN, COLUMNS, ROW, table
from tests.support.uncertain_models import SURE, serve
from tests.support.waiting import wait_until

TEXT = {"content_type": "text/plain"}
PNG = {"content_type": "image/png"}
SUBJECT = (
    TensorSpec(name="class_id", dtype="int64", shape=(None,)),
    TensorSpec(name="score", dtype="float32", shape=(None,)),
)


def spec(name: str, dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=(None, *shape))


def explained(model: str, **added: tuple[TensorSpec, ...]) -> dict[str, SignatureSpec]:
    """The signatures of one of the fakes, and those that explain: outputs by name."""
    known = KINDS[model]["signatures"]
    by = {"explain": "serving_default", "explain_bytes": "image_bytes"}
    more = {
        name: SignatureSpec(inputs=known[by[name]].inputs, outputs=(*SUBJECT, *outputs))
        for name, outputs in added.items()
    }
    return {**more, **known}


WORDS = (
    spec("ends", "int32", None),
    spec("starts", "int32", None),
    spec("weights", "float32", None),
    spec("words", "string", None),
)
PIXELS = (spec("weights", "float32", 28, 28),)


def weigh_words(inputs: dict[str, Array]) -> dict[str, Array]:
    """As the graph does: rows are filled up with empty words."""
    texts = [content.decode().split() for content in inputs["text"]]
    width = max(len(words) for words in texts)
    filled = [words + [""] * (width - len(words)) for words in texts]
    ends = np.array(
        [[len(" ".join(words[: place + 1])) if words[place] else 0 for place in range(width)] for words in filled]
    )
    starts = ends - [[len(word) for word in words] for words in filled]
    return {
        "class_id": np.array([int("good" in words) for words in texts]),
        "score": np.full(len(texts), 2.5, np.float32),
        "words": np.array([[word.encode() for word in words] for words in filled], dtype=object),
        "weights": np.array([[1.5 if word == "good" else 0 for word in words] for words in filled], np.float32),
        "starts": starts.astype(np.int32),
        "ends": ends.astype(np.int32),
    }


def weigh_pixels(inputs: dict[str, Array]) -> dict[str, Array]:
    count = len(next(iter(inputs.values())))
    weights = np.zeros((count, 28, 28), np.float32)
    weights[:, 3, 4] = 0.5
    found = {"class_id": np.ones(count, np.int64), "score": np.ones(count, np.float32), "weights": weights}
    return found | ({"images": np.full((count, 28, 28, 1), 7, np.uint8)} if "image_bytes" in inputs else {})


@pytest.fixture
def reviews(filled: Store, server: FakeModelServer) -> str:
    """The newest version of the model of texts explains."""
    server.loaded.add((REVIEWS, publish(filled, REVIEWS, signatures=explained(REVIEWS, explain=WORDS))))
    server.explain = weigh_words
    return f"/v1/models/{REVIEWS}:predict"


@pytest.fixture
def digits(filled: Store, server: FakeModelServer) -> str:
    signatures = explained(DIGITS, explain=PIXELS, explain_bytes=(spec("images", "uint8", 28, 28, 1), *PIXELS))
    server.loaded.add((DIGITS, publish(filled, DIGITS, signatures=signatures)))
    server.explain = weigh_pixels
    return f"/v1/models/{DIGITS}:predict"


# --- our own forms ----------------------------------------------------------------------------------------------------


def test_a_text_is_answered_with_its_words(client: FlaskClient, reviews: str) -> None:
    """Each with its weight and where it stood; the class that is explained is named."""
    found: Any = client.post(f"{reviews}?explain=1", data="a good film", **TEXT).json
    assert found["label"] == "positive"
    assert found["explanation"] == {
        "label": "positive",
        "class_id": 1,
        "score": 2.5,
        "words": [
            {"word": "a", "weight": 0.0, "start": 0, "end": 1},
            {"word": "good", "weight": 1.5, "start": 2, "end": 6},
            {"word": "film", "weight": 0.0, "start": 7, "end": 11},
        ],
    }
    assert "explanation" not in client.post(reviews, data="a good film", **TEXT).json
    assert "explanation" not in client.post(f"{reviews}?explain=0", data="a good film", **TEXT).json


def test_an_image_is_answered_with_a_map_and_what_the_model_saw(client: FlaskClient, digits: str) -> None:
    """A weight for each pixel of the model's size, and those pixels as PNG."""
    found: Any = client.post(f"{digits}?explain=true", data=encoded("PNG", (90, 40)), **PNG).json["explanation"]
    assert (found["label"], found["height"], found["width"]) == ("light", 28, 28)
    weights = np.array(found["weights"])
    assert weights.shape == (28, 28)
    assert weights[3, 4] == 0.5
    seen = Image.open(io.BytesIO(base64.b64decode(found["image"])))
    assert (seen.size, seen.getpixel((0, 0))) == ((28, 28), 7)


def test_rows_in_words_have_an_explanation_each(client: FlaskClient, reviews: str) -> None:
    """Shorter texts are not filled up; outputs as they are have no place for words."""
    body = {"instances": ["a good film", "bad"]}
    for words in ("true", "scores"):
        found: Any = client.post(f"{reviews}?labels={words}&explain=1", json=body).json["predictions"]
        assert [len(row["explanation"]["words"]) for row in found] == [3, 1]
    refused = client.post(f"{reviews}?explain=1", json=body)
    assert refused.status_code == 400
    assert "add labels=true or labels=scores" in refused.json["error"]


def test_files_of_a_form_have_an_explanation_each(client: FlaskClient, digits: str) -> None:
    """A file that is none fails alone, as without."""
    files = [
        (io.BytesIO(content), f"{place}.png") for place, content in enumerate((encoded("PNG"), b"no", encoded("PNG")))
    ]
    found: Any = client.post(f"{digits}?explain=1", data={"file": files}).json
    assert ["explanation" in entry for entry in found] == [True, False, True]
    assert "error" in found[1]


def test_columns_have_a_weight_by_title(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """In the order of the data; by CSV and by a form of one row, too."""
    fields = table(COLUMNS)
    default = fields["signatures"]["serving_default"]
    why = (*SUBJECT, spec("inputs", "string", len(COLUMNS)), spec("weights", "float32", len(COLUMNS)))
    fields["signatures"] = {"explain": SignatureSpec(inputs=default.inputs, outputs=why), "serving_default": default}
    server.loaded.add((CHURN, publish(filled, CHURN, **fields)))
    server.functions[CHURN] = lambda inputs: {
        "class_id": np.ones(len(inputs["age"]), np.int64),
        "probabilities": np.tile(np.array([[0.1, 0.9]], np.float32), (len(inputs["age"]), 1)),
    }
    names = np.array([[name.encode() for name in COLUMNS]], dtype=object)
    server.explain = lambda _: {
        "class_id": np.ones(1, np.int64),
        "score": np.ones(1, np.float32),
        "inputs": names,
        "weights": np.arange(len(COLUMNS), dtype=np.float32)[None],
    }
    path = f"/v1/models/{CHURN}:predict?explain=1"
    line = "age,plan,tenure_months,city,signed up,petal length (cm)\n41,gold,7,Rome,2026-11-29,1.5\n"
    answers = [
        client.post(f"{path}&labels=true", json={"instances": [ROW]}).json["predictions"][0],
        client.post(path, data=line, content_type="text/csv").json["predictions"][0],
        client.post(
            path, data={name: str(value) for name, value in ROW.items()}, content_type="multipart/form-data"
        ).json,
    ]
    for found in answers:
        assert found["explanation"]["label"] == "yes"
        assert list(found["explanation"]["columns"].items()) == [
            ("age", 0.0),
            ("plan", 1.0),
            ("tenure_months", 2.0),
            ("city", 3.0),
            ("signed up", 4.0),
            ("petal length (cm)", 5.0),
        ]
    as_csv = client.post(path, data=line, content_type="text/csv", headers={"Accept": "text/csv"})
    assert as_csv.status_code == 400


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_version_without_explanations_says_so(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Before it is asked anything; a value that means neither yes nor no is refused, too."""
    refused = shared_client.post(f"/v1/models/{REVIEWS}:predict?explain=1", data="good", **TEXT)
    assert refused.status_code == 400
    assert f"version 1 of {REVIEWS} has no signature that explains serving_default" in refused.json["error"]
    odd = shared_client.post(f"/v1/models/{REVIEWS}:predict?explain=why", data="good", **TEXT)
    assert (odd.status_code, odd.json["error"]) == (400, "explain: expected 1 or 0, received 'why'")
    assert not shared_server.calls


def test_few_inputs_are_explained_at_once(client: FlaskClient, reviews: str, server: FakeModelServer) -> None:
    """Eight in a request, whichever way it asks; none in lines of bulk."""
    nine = {"instances": ["good"] * 9}
    for path, body in ((f"{reviews}?labels=true&explain=1", nine), (reviews, {**nine, "signature_name": "explain"})):
        refused = client.post(path, json=body)
        assert (refused.status_code, refused.json["error"]) == (400, "explain: expected 1 to 8 inputs, received 9")
    for query in ("explain=1", "signature_name=explain"):
        refused = client.post(f"{reviews}?{query}", data='"good"\n', content_type="application/jsonl")
        assert (refused.status_code, "not line by line" in refused.json["error"]) == (400, True)
    assert not server.calls


def test_what_is_refused_is_not_explained(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """An input that is not typical is 422, and among files that one alone; the signature itself refuses nothing."""
    serve(filled, server, SURE)
    known = filled.manifest(SURE, 1).signatures
    why = SignatureSpec(inputs=known["serving_default"].inputs, outputs=(*SUBJECT, *WORDS))
    serve(filled, server, SURE, on_atypical="refuse", signatures={"explain": why, **known})
    server.explain = weigh_words
    path = f"/v1/models/{SURE}:predict"
    assert client.post(f"{path}?explain=1", data="xyz", **TEXT).status_code == 422
    rows = client.post(f"{path}?explain=1&labels=true", json={"instances": ["good", "xyz"]})
    assert (rows.status_code, rows.json["error"].startswith("row 1: ")) == (422, True)
    assert {call.model_spec.signature_name for call in server.calls} == {"serving_default"}
    files = [(io.BytesIO(text), "a.txt") for text in (b"xyz", b"good")]
    refused, good = client.post(f"{path}?explain=1", data={"file": files}).json
    assert ("error" in refused, good["explanation"]["words"][0]["word"]) == (True, "good")
    raw = client.post(path, json={"instances": ["xyz"], "signature_name": "explain"})
    assert raw.json["predictions"][0]["words"] == ["xyz"]


# --- the signatures ---------------------------------------------------------------------------------------------------


def test_the_signature_is_called_as_any_other(client: FlaskClient, reviews: str) -> None:
    """In row and column form of one protocol, and by the other."""
    row: Any = client.post(reviews, json={"signature_name": "explain", "instances": ["a good film"]}).json
    assert row["predictions"][0]["words"] == ["a", "good", "film"]
    column: Any = client.post(reviews, json={"signature_name": "explain", "inputs": ["a good film"]}).json
    assert column["outputs"]["weights"] == [[0.0, 1.5, 0.0]]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a good film"]}
    body = {"parameters": {"signature_name": "explain"}, "inputs": [tensor]}
    infer: Any = client.post(f"/v2/models/{REVIEWS}/infer", json=body).json
    assert {output["name"]: output["data"] for output in infer["outputs"]}["weights"] == [0.0, 1.5, 0.0]


def test_raw_bodies_are_answered_and_not_explained(client: FlaskClient, reviews: str, digits: str) -> None:
    """Though the signature that explains takes the same, and its name comes first."""
    assert client.post(reviews, data="good", **TEXT).json["label"] == "positive"
    assert client.post(digits, data=encoded("PNG"), **PNG).json["label"] == "light"


def test_explanations_take_turns_and_answers_do_not_wait(
    client: FlaskClient, reviews: str, server: FakeModelServer
) -> None:
    """One call that explains at a time, and none with the rows of two requests."""
    server.release.clear()
    body = {"signature_name": "explain", "instances": ["good"]}
    with ThreadPoolExecutor(4) as threads:
        explained = [threads.submit(client.application.test_client().post, reviews, json=body) for _ in range(3)]
        wait_until(lambda: len(server.calls) == 1, 10)
        answered = threads.submit(client.application.test_client().post, reviews, data="good", **TEXT)
        wait_until(lambda: len(server.calls) == 2, 10)
        assert [call.model_spec.signature_name for call in server.calls] == ["explain", "serving_default"]
        server.release.set()
        assert [done.result().status_code for done in (*explained, answered)] == [200] * 4
    counts = [call.inputs["text"].tensor_shape.dim[0].size for call in server.calls]
    assert counts == [1] * 4


def test_an_explanation_waits_for_its_turn_no_longer_than_its_deadline(
    client: FlaskClient, reviews: str, server: FakeModelServer
) -> None:
    """It is as late as any other request, 504, and says what helps."""
    server.release.clear()
    body = {"signature_name": "explain", "instances": ["good"]}
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.application.test_client().post, reviews, json=body)
        wait_until(lambda: len(server.calls) == 1, 10)
        late = client.post(reviews, json=body, headers={"X-Timeout-Ms": "200"})
        assert (late.status_code, "ask for fewer inputs at once" in late.json["error"]) == (504, True)
        server.release.set()
        assert first.result().status_code == 200
