"""Captured predictions on which the stable version and its canary, or its shadow, differ.

Only one of them had answered each; the other one is asked now, behind all other requests.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.rollout import Rollout
from modelyard.services.gateway.api.answers.inputs import find_signature, read_row, stack_rows
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.serving.capture import read_predictions
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.ledger.feedback import CapturedPrediction

MAX_COMPARED = 256
"""Captured predictions of which the other version is asked."""
ROWS = 32
"""In one call: interactive requests wait for no longer one."""
TIMEOUT_S = 10.0


class NothingToCompare(ModelyardError):
    """The model has no second version that answers."""

    status = 409


@dataclass(frozen=True)
class Second:
    """What another version says to the same input."""

    version: int
    predicted: float
    score: float | None


def find_pair(rollout: Rollout, model: str) -> tuple[int, int]:
    """The stable version and its canary, else its shadow. Raises ``NothingToCompare``."""
    other = rollout.canary.version if rollout.canary else rollout.shadow.version if rollout.shadow else None
    if rollout.stable is None or other is None:
        raise NothingToCompare(
            f"{model} has neither a canary nor a shadow, whose predictions could differ from stable's"
        )
    return rollout.stable, other


def find_disagreements(
    predictor: Predictor, model: str, pair: tuple[int, int], answers: Sequence[CapturedPrediction]
) -> list[tuple[CapturedPrediction, Second]]:
    """Those that the other version of the pair answers otherwise, where it is surest first.

    Raises:
        ModelyardError: the other version cannot be asked.
    """
    deadline = Deadline.after(TIMEOUT_S)
    found = [
        (answer, second)
        for version in pair
        for batch in make_batches([answer for answer in answers if answer.version != version])
        for answer, second in ask(predictor, Servable(model, version), batch, deadline)
        if second.predicted != answer.predicted
    ]
    return sorted(found, key=measure_distance, reverse=True)


def measure_distance(found: tuple[CapturedPrediction, Second]) -> float:
    """How sure both are of different classes, or how far two numbers are apart."""
    answer, second = found
    if answer.score is None or second.score is None:
        return abs(answer.predicted - second.predicted)
    return answer.score + second.score


def make_batches(answers: Sequence[CapturedPrediction]) -> Iterator[list[CapturedPrediction]]:
    """Of equal tensors, ``ROWS`` at a time."""
    groups = defaultdict(list)
    for answer in answers:
        groups[answer.input, answer.dtype, answer.shape].append(answer)
    for group in groups.values():
        yield from (group[start : start + ROWS] for start in range(0, len(group), ROWS))


def ask(
    predictor: Predictor, servable: Servable, answers: list[CapturedPrediction], deadline: Deadline
) -> list[tuple[CapturedPrediction, Second]]:
    """What a version says to them; nothing where it takes other inputs."""
    interface = predictor.wait_for_interface(servable)
    rows = [read_row(answer) for answer in answers]
    signature = find_signature(rows[0], interface.list_answering())
    if signature is None:
        return []
    try:
        inputs = stack_rows(rows, interface.signatures[signature])
    except (ValueError, KeyError):  # rows of several shapes
        return []
    outputs = predictor.wait_for(predictor.predict(interface, signature, inputs, deadline, bulk=True))
    predictions = read_predictions(outputs, interface)
    if predictions is None:
        return []
    predicted, scores = predictions
    return [
        (answer, Second(interface.version, float(predicted[index]), None if scores is None else float(scores[index])))
        for index, answer in enumerate(answers)
    ]
