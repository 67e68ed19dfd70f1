"""Routines of predictions and feedback."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from modelyard.client import inputs
from modelyard.client.answers import Prediction, RawAnswer, read_predictions, read_raw
from modelyard.client.errors import BrokenAnswer, InvalidInput
from modelyard.client.inputs import MAX_INSTANCES, Instance
from modelyard.client.records import Feedback
from modelyard.client.steps import JSON, Reply, Request, Routine, encode_path, get, send_json

TOO_LARGE = 413
MAX_TIMEOUT_MS = 30_000
"""Longest time limit that a gateway takes."""
IN_WORDS = {"labels": "scores"}
EXPLAINED = {"explain": "1"}


def predict(
    model: str,
    given: object,
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str | None = None,
    timeout: float | None = None,
    explain: bool = False,
) -> Routine[Prediction]:
    """The answer to one input.

    Args:
        model: its name.
        given: an image (``pathlib.Path``, bytes of a file, Pillow image, or array of uint8 [height, width] with or
            without channels), a text (str), a row by name (dict), or numbers (one, or a list or array).
        version: another version than the stable one.
        label: the version with this label, such as ``canary``.
        signature: another signature than the one that takes such an input.
        timeout: seconds in which the answer is of use; the gateway gives up then, too.
        explain: also says why, in ``explanation``: it costs as much as dozens of answers.

    Raises:
        InvalidInput: the model does not take it; the text says what it takes. Or this version explains nothing.
        NotFound: no such model or version.
        Unavailable: the gateway or the model server is away, or has too much to do.
    """
    path = name_target(model, version, label)
    image = inputs.read_image(given)
    if signature is None and (image is not None or isinstance(given, str)):
        content = image if image is not None else str(given).encode()
        kind = inputs.find_type(image) if image is not None else "text/plain; charset=utf-8"
        reply = yield make_request(path, content, kind, timeout, EXPLAINED if explain else None)
        return read_predictions(reply, model, [_read_single(reply)])[0]
    query = IN_WORDS | EXPLAINED if explain else IN_WORDS
    (found,) = yield from _predict_batch(path, model, [inputs.encode_instance(given)], signature, timeout, query)
    return found


def predict_many(
    model: str,
    given: object,
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str | None = None,
    timeout: float | None = None,
    batch: int = MAX_INSTANCES,
) -> Routine[list[Prediction]]:
    """The answers to several inputs, in their order, in as many requests as the gateway's limits need.

    Args:
        model: its name.
        given: an iterable of what ``predict`` takes, or a table of pandas or Polars: its rows.
        version: another version than the stable one; without it, requests after a rollout are answered by the new one.
        label: the version with this label.
        signature: another signature than the one that takes such inputs.
        timeout: seconds for each request.
        batch: inputs in one request at most.

    Raises:
        InvalidInput: the model does not take one of them; the text says which row of its request, and what it takes.
    """
    path = name_target(model, version, label)
    found: list[Prediction] = []
    for part in inputs.split(map(inputs.encode_instance, inputs.list_rows(given)), batch):
        found += yield from _predict_split(path, model, part, signature, timeout)
    return found


def _predict_split(
    path: str, model: str, part: list[Instance], signature: str | None, timeout: float | None
) -> Routine[list[Prediction]]:
    """A batch; in two, where this gateway's limits are lower than usual."""
    try:
        return (yield from _predict_batch(path, model, part, signature, timeout))
    except InvalidInput as error:
        if error.status != TOO_LARGE or len(part) == 1:
            raise
    half = len(part) // 2
    first = yield from _predict_split(path, model, part[:half], signature, timeout)
    return first + (yield from _predict_split(path, model, part[half:], signature, timeout))


def _predict_batch(
    path: str,
    model: str,
    part: list[Instance],
    signature: str | None,
    timeout: float | None,
    query: Mapping[str, str] = IN_WORDS,
) -> Routine[list[Prediction]]:
    reply = yield make_request(path, inputs.join(part, signature), JSON, timeout, query)
    answers = _read_member(reply, "predictions")
    if not isinstance(answers, list) or len(answers) != len(part):
        raise BrokenAnswer(f"expected {len(part)} predictions, received another answer", status=reply.status)
    return read_predictions(reply, model, answers)


def predict_raw(
    model: str,
    body: bytes | Mapping[str, Any],
    *,
    content_type: str = JSON,
    version: int | None = None,
    label: str | None = None,
    query: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Routine[RawAnswer]:
    """The answer as it comes, to a body as it is: ``{"instances": [...]}``, ``{"inputs": ...}``, CSV, a form, lines."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = make_request(name_target(model, version, label), content, content_type, timeout, query or {})
    reply = yield replace(request, headers={**request.headers, **(headers or {})})
    return read_raw(reply)


def send_feedback(
    prediction: Prediction | str,
    *,
    label: str | int | None = None,
    value: float | None = None,
    row: int | None = None,
) -> Routine[Feedback]:
    """Sends the truth about a prediction, or about one that is named by its request id, and a row.

    Args:
        prediction: whose model is captured.
        label: the right class, by its name or number.
        value: the right number.
        row: of a request id; 0 unless set.

    Raises:
        NotFound: the prediction was not captured, or is too old.
    """
    if isinstance(prediction, Prediction):
        request_id, row = prediction.request_id, prediction.row if row is None else row
    else:
        request_id = prediction
    body = {"request_id": request_id, "row": row or 0, "label": label, "value": value}
    reply = yield send_json("POST", "/api/feedback", {name: each for name, each in body.items() if each is not None})
    return Feedback.read(reply.json())


def get_metadata(model: str, *, version: int | None = None, label: str | None = None) -> Routine[dict[str, Any]]:
    """TensorFlow Serving's metadata of a version: its signatures with names, types and shapes."""
    reply = yield get(f"{name_target(model, version, label, verb='')}/metadata")
    found: dict[str, Any] = reply.json()
    return found


def name_target(model: str, version: int | None, label: str | None, verb: str = "predict") -> str:
    """The path of ``:predict``; raises ``InvalidInput`` for both a version and a label."""
    if version is not None and label is not None:
        raise InvalidInput("expected one of version and label, received both")
    chosen: Iterator[object] = iter(())
    if version is not None:
        chosen = iter(("versions", version))
    elif label is not None:
        chosen = iter(("labels", label))
    return encode_path("v1", "models", *chain([model], chosen), verb=verb)


def make_request(
    path: str, content: bytes, content_type: str, timeout: float | None, query: Mapping[str, Any] | None = None
) -> Request:
    """Predictions change nothing, so they may be repeated."""
    headers = {"Content-Type": content_type}
    if timeout is not None:
        headers["X-Timeout-Ms"] = str(max(1, min(MAX_TIMEOUT_MS, round(1000 * timeout))))
    return Request("POST", path, query or {}, headers, content, repeat="unless late", timeout_s=timeout)


def _read_single(reply: Reply) -> Mapping[str, Any]:
    found = reply.json()
    if not isinstance(found, dict):
        raise BrokenAnswer(f"expected one answer, received a {type(found).__name__}", status=reply.status)
    return {name: value for name, value in found.items() if name not in ("model", "version", "data", "request_id")}


def _read_member(reply: Reply, name: str) -> Any:
    found = reply.json()
    if not isinstance(found, dict) or name not in found:
        raise BrokenAnswer(f"expected {name!r}, received another answer", status=reply.status)
    return found[name]
