"""``?explain=1``: why the model answers so, in words beside each row of our own forms of responses.

The signature ``explain`` gives weights as arrays (``pipeline/exporting/explaining/signature.py``); here they stand by
the words, columns and pixels that they belong to.
"""

import base64
from collections.abc import Mapping
from typing import Any

from modelyard.models.registry.inputs.example_body import encode_png
from modelyard.models.registry.manifest import NamedLimits, OneLimits
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.inputs import ModelCall, check_explained
from modelyard.services.gateway.codecs.tensors import decode_utf8
from modelyard.services.gateway.http.errors import InvalidOutput, InvalidRequest
from modelyard.services.gateway.serving.interface import CLASS_ID, EXPLAIN, WEIGHTS, Interface

CHOICES = {"1": True, "true": True, "0": False, "false": False}
FORMS = ("labels", "scores", "labelled")
"""Responses in words, which have a place for an explanation."""
PICTURE, TEXT_PARTS = "image", ("words", "starts", "ends")


def choose(
    query: Mapping[str, str], signature: str, inputs: Mapping[str, Array], form: str, interface: Interface
) -> bool:
    """Whether ``?explain=`` asks for an explanation.

    Raises:
        InvalidRequest: this version has none, or the response has no place for it, or there are too many inputs.
    """
    if not is_wanted(query):
        return False
    require(interface, signature)
    if form not in FORMS:
        raise InvalidRequest(
            "explain: expected a response in words: add labels=true or labels=scores to rows in JSON, and ask for JSON "
            f'in place of CSV; "signature_name": "{EXPLAIN}" gives the weights alone'
        )
    check_explained(max((len(array) for array in inputs.values() if array.shape), default=1))
    return True


def is_wanted(query: Mapping[str, str]) -> bool:
    """Raises ``InvalidRequest`` for any other value than 1, true, 0 and false."""
    wanted = query.get("explain")
    if wanted is None:
        return False
    if (chosen := CHOICES.get(wanted.lower())) is None:
        raise InvalidRequest(f"explain: expected 1 or 0, received {wanted.lower()[:20]!r}")
    return chosen


def require(interface: Interface, signature: str) -> None:
    """Raises ``InvalidRequest`` where nothing explains the answers of a signature."""
    if interface.find_explanation(signature) is None:
        raise InvalidRequest(
            f"explain: version {interface.version} of {interface.model} has no signature that explains {signature}; "
            "versions have one that were trained by this release or a later one, and answer with classes or numbers"
        )


def attach(rows: list[dict[str, Any]], call: ModelCall, interface: Interface) -> list[dict[str, Any]]:
    """The rows of a response, each with its ``explanation`` if there is one."""
    if call.explanation is None:
        return rows
    explained = describe(call.explanation, interface)
    return [row | {"explanation": found} for row, found in zip(rows, explained, strict=True)]


def describe(outputs: Mapping[str, Array], interface: Interface) -> list[dict[str, Any]]:
    """Each row's explanation: what is explained, and the weights of its parts.

    Raises:
        InvalidOutput: the model did not return what an explanation of its kind of input is, or numbers that are none.
    """
    if not getattr(outputs, "finite", True):
        raise InvalidOutput("explain: the model returned a number that is not finite")
    try:
        rows = [{name: array[row] for name, array in outputs.items()} for row in range(len(outputs[WEIGHTS]))]
        return [describe_row(row, interface) for row in rows]
    except (KeyError, IndexError, TypeError, ValueError):
        found = ", ".join(sorted(outputs))
        raise InvalidOutput(f"explain: the model returned {found}, which is no explanation of its input") from None


def describe_row(row: Mapping[str, Any], interface: Interface) -> dict[str, Any]:
    limits = interface.input
    assert limits is not None
    found = describe_subject(row, interface)
    if isinstance(limits, NamedLimits):
        return found | describe_inputs(row, limits)
    return found | describe_parts(row, "", "", limits)


def describe_subject(row: Mapping[str, Any], interface: Interface) -> dict[str, Any]:
    """The class, label or number that is explained, and its ``score``: log-odds, or the number itself."""
    score = {"score": row["score"]} if "score" in row else {}
    if CLASS_ID not in row:
        return {"value": interface.labels[0] if interface.labels else "value"} | score
    chosen = int(row[CLASS_ID])
    named = {"label": interface.labels[chosen]} if 0 <= chosen < len(interface.labels) else {}
    return named | {"class_id": chosen} | score


def describe_inputs(row: Mapping[str, Any], limits: NamedLimits) -> dict[str, Any]:
    """``columns`` by title, and the ``parts`` of those that have such."""
    titles = {name: getattr(one, "title", "") or name for name, one in limits.inputs.items()}
    weights = dict(zip((decode_utf8("inputs", name) for name in row["inputs"]), row[WEIGHTS], strict=True))
    parts = {
        titles[name]: describe_parts(row, f"{name}_", name, one)
        for name, one in limits.inputs.items()
        if f"{name}_{WEIGHTS}" in row
    }
    columns = {titles[name]: weights[name] for name in titles}
    return {"columns": columns} | ({"parts": parts} if parts else {})


def describe_parts(row: Mapping[str, Any], prefix: str, name: str, limits: OneLimits) -> dict[str, Any]:
    """The weights within one input: of words, pixels, numbers or steps; of a single value, its own."""
    weights = row[f"{prefix}{WEIGHTS}"]
    if limits.kind == "text":
        return {"words": describe_words(weights, *(row[prefix + part] for part in TEXT_PARTS))}
    if limits.kind == "image":
        size = {"height": limits.height, "width": limits.width}
        return size | {"weights": weights} | describe_picture(row.get(f"{prefix}images"))
    if limits.kind in ("vector", "sequence"):
        return {"weights": weights}
    title = getattr(limits, "title", "") or name or limits.kind
    return {"columns": {title: weights[0]}}


def describe_words(weights: Array, words: Array, starts: Array, ends: Array) -> list[dict[str, Any]]:
    """The words in order; what fills up a shorter text is left out."""
    return [
        {"word": decode_utf8("words", word), "weight": weight, "start": start, "end": end}
        for word, weight, start, end in zip(words, weights, starts.tolist(), ends.tolist(), strict=True)
        if end > start
    ]


def describe_picture(pixels: Array | None) -> dict[str, Any]:
    """The picture that the model saw, as PNG in base64, if the request held a file."""
    return {} if pixels is None else {PICTURE: base64.b64encode(encode_png(pixels)).decode()}
