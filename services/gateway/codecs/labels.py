"""Outputs in words: the likeliest class of each row, its labels, named numbers, or a text.

Which of them follows from the signature's outputs and the labels that the version's manifest names.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np

from modelyard.models.types import Array
from modelyard.services.gateway.codecs.tensors import decode_utf8
from modelyard.services.gateway.codecs.uncertainty import describe_rows
from modelyard.services.gateway.http.errors import InvalidOutput, InvalidRequest
from modelyard.services.gateway.serving.interface import CLASS_ID, PROBABILITIES, TEXT, VALUE, Interface, read_classes

AnswerKind = Literal["class", "labels", "numbers", "text"]
THRESHOLD = 0.5
"""Score from which a row has a label, where it may have several."""
MATRIX = 2


def find_kind(interface: Interface, signature: str) -> AnswerKind | None:
    """What this signature's outputs are in words; None if there are none."""
    outputs = {spec.name: spec for spec in interface.signatures[signature].outputs}
    if TEXT in outputs and outputs[TEXT].dtype == "string":
        return "text"
    if not interface.labels:
        return None
    if interface.probabilities in outputs:
        return "class"
    if PROBABILITIES in outputs:
        return "class" if CLASS_ID in outputs else "labels"
    return "numbers" if VALUE in outputs else None


def has_labels(interface: Interface, signature: str) -> bool:
    """Whether this signature's outputs have labels, names, or are texts."""
    return find_kind(interface, signature) is not None


def require_labels(interface: Interface, signature: str) -> None:
    """Raises ``InvalidRequest`` if it has none."""
    if not has_labels(interface, signature):
        raise InvalidRequest(f"labels: {signature} of {interface.model} has none to answer with")


def label_rows(outputs: Mapping[str, Array], interface: Interface, signature: str) -> list[dict[str, Any]]:
    """As ``name_rows``, with what the version says of its uncertainty."""
    rows = name_rows(outputs, interface, signature)
    return [row | said for row, said in zip(rows, describe_rows(outputs, interface), strict=True)]


def name_rows(outputs: Mapping[str, Array], interface: Interface, signature: str) -> list[dict[str, Any]]:
    """Each row in words: ``label``, ``class_id`` and ``score``; ``labels`` with scores; ``values`` by name; ``text``.

    Raises:
        InvalidOutput: outputs of another shape than these have, or a class that has no label.
    """
    kind = find_kind(interface, signature)
    assert kind is not None
    return ROWS[kind](outputs, interface)


def score_rows(outputs: Mapping[str, Array], interface: Interface, signature: str) -> list[dict[str, Any]]:
    """As ``label_rows``, with every label's score where there are scores."""
    rows = label_rows(outputs, interface, signature)
    if find_kind(interface, signature) not in ("class", "labels"):
        return rows
    found = read_classes(outputs, interface.probabilities)
    scores = outputs[PROBABILITIES] if found is None else found[1]
    return [
        entry | {"scores": dict(zip(interface.labels, row, strict=True))}
        for entry, row in zip(rows, scores, strict=True)
    ]


def tabulate(outputs: Mapping[str, Array], interface: Interface, signature: str) -> Iterable[Iterable[Any]]:
    """The same as lines of a table, with a header."""
    kind, rows = find_kind(interface, signature), name_rows(outputs, interface, signature)
    if kind == "labels":
        yield ["labels", *interface.labels]
        for row, scores in zip(rows, outputs[PROBABILITIES], strict=True):
            yield ["; ".join(entry["label"] for entry in row["labels"]), *scores]
        return
    rows = [row["values"] for row in rows] if kind == "numbers" else rows
    yield list(rows[0])
    yield from (list(row.values()) for row in rows)


# --- by kind ----------------------------------------------------------------------------------------------------------


def list_classes(outputs: Mapping[str, Array], interface: Interface) -> list[dict[str, Any]]:
    """From ``probabilities`` float32 [n, classes] and ``class_id`` int64 [n], or the output that stands for both."""
    found, labels = read_classes(outputs, interface.probabilities), interface.labels
    wrong = f"the model did not return {describe_outputs(interface)}"
    if found is None:
        raise InvalidOutput(wrong)
    class_ids, probabilities = found
    if not class_ids.size or class_ids.ndim != 1 or probabilities.shape != (class_ids.size, len(labels)):
        raise InvalidOutput(wrong)
    for chosen in class_ids.tolist():
        if not 0 <= chosen < len(labels):
            raise InvalidOutput(f"class_id: expected 0 to {len(labels) - 1} from the model, received {chosen}")
    return [
        {"label": labels[chosen], "class_id": chosen, "score": row[chosen]}
        for chosen, row in zip(class_ids.tolist(), probabilities, strict=True)
    ]


def list_labels(outputs: Mapping[str, Array], interface: Interface) -> list[dict[str, Any]]:
    """From ``probabilities`` float32 [n, labels]: those that a row has, the likeliest first."""
    probabilities = require_matrix(outputs, PROBABILITIES, interface)
    return [
        {
            "labels": [
                {"label": interface.labels[index], "score": row[index]}
                for index in np.argsort(-row, kind="stable").tolist()
                if row[index] >= THRESHOLD
            ]
        }
        for row in probabilities
    ]


def list_numbers(outputs: Mapping[str, Array], interface: Interface) -> list[dict[str, Any]]:
    """From ``value`` [n, numbers]."""
    value = require_matrix(outputs, VALUE, interface)
    return [{"values": dict(zip(interface.labels, row, strict=True))} for row in value]


def require_matrix(outputs: Mapping[str, Array], name: str, interface: Interface) -> Array:
    """An output with one number per label; raises ``InvalidOutput``."""
    found, size = outputs.get(name), len(interface.labels)
    if found is not None and found.ndim == 1 and size == 1:
        found = found.reshape(-1, 1)
    if found is None or found.ndim != MATRIX or not len(found) or found.shape[1] != size:
        raise InvalidOutput(f"the model did not return {name} [n,{size}]")
    return found


def list_texts(outputs: Mapping[str, Array], _: Interface) -> list[dict[str, Any]]:
    """From ``text`` string [n]."""
    found = outputs.get(TEXT)
    if found is None or found.dtype != object or found.ndim != 1 or not len(found):
        raise InvalidOutput(f"the model did not return {TEXT} [n]")
    return [{"text": decode_utf8(TEXT, content)} for content in found]


ROWS: Mapping[AnswerKind, Callable[[Mapping[str, Array], Interface], list[dict[str, Any]]]] = {
    "class": list_classes,
    "labels": list_labels,
    "numbers": list_numbers,
    "text": list_texts,
}


def describe_outputs(interface: Interface) -> str:
    classes = len(interface.labels)
    if interface.probabilities:
        return f"{interface.probabilities} [n,{classes}]"
    return f"probabilities [n,{classes}] and class_id [n]"
