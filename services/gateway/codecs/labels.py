"""Labels of rows: the likeliest of each, by the classes that the version's manifest names."""

from collections.abc import Mapping
from typing import Any

from modelyard.models.types import Array
from modelyard.services.gateway.http.errors import InvalidOutput, InvalidRequest
from modelyard.services.gateway.serving.interface import CLASS_ID, PROBABILITIES, Interface, read_classes


def has_labels(interface: Interface, signature: str) -> bool:
    """Whether this signature's outputs have labels."""
    outputs = {spec.name for spec in interface.signatures[signature].outputs}
    return bool(interface.labels) and ({PROBABILITIES, CLASS_ID} <= outputs or interface.probabilities in outputs)


def require_labels(interface: Interface, signature: str) -> None:
    """Raises ``InvalidRequest`` if it has none."""
    if not has_labels(interface, signature):
        raise InvalidRequest(f"labels: {signature} of {interface.model} has none to answer with")


def label_rows(outputs: Mapping[str, Array], interface: Interface) -> list[dict[str, Any]]:
    """Label, class and score of each row.

    Args:
        outputs: ``probabilities`` float32 [n, classes] and ``class_id`` int64 [n]; or the output that the interface
            names for the former.

    Raises:
        InvalidOutput: another shape, or a class that has no label.
    """
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


def score_rows(outputs: Mapping[str, Array], interface: Interface) -> list[dict[str, Any]]:
    """As ``label_rows``, with every label's score."""
    entries, found = label_rows(outputs, interface), read_classes(outputs, interface.probabilities)
    assert found is not None
    return [
        entry | {"scores": dict(zip(interface.labels, row, strict=True))}
        for entry, row in zip(entries, found[1], strict=True)
    ]


def describe_outputs(interface: Interface) -> str:
    classes = len(interface.labels)
    if interface.probabilities:
        return f"{interface.probabilities} [n,{classes}]"
    return f"probabilities [n,{classes}] and class_id [n]"
