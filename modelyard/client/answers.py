"""Answers of predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from modelyard.client.steps import Reply

Kind = Literal["class", "labels", "numbers", "text", "outputs"]
_MARKS: Mapping[str, Kind] = {"label": "class", "labels": "labels", "values": "numbers", "text": "text"}


class WrongKind(AttributeError):
    """The model answers with something else than what was read."""


@dataclass(frozen=True)
class Prediction:
    """The answer to one input. What it holds depends on the model: ``kind`` says it.

    class: ``label``, ``class_id``, ``score``, ``scores``. labels: ``labels``, ``scores``. numbers: ``values``.
    text: ``text``. outputs, of a model whose outputs have no words: ``outputs``. Others raise ``WrongKind``.
    """

    answer: Mapping[str, Any]
    """As it came."""
    model: str
    version: int
    """Which answered."""
    data: str | None
    """What it was trained on: real, sample, generated or imported."""
    request_id: str
    row: int
    """Its number in the request; feedback names both."""
    latency_s: float
    """From the last try's start to its answer, of the whole batch."""

    @property
    def kind(self) -> Kind:
        """What the model answers with."""
        return next((kind for mark, kind in _MARKS.items() if mark in self.answer), "outputs")

    @property
    def label(self) -> str:
        """The likeliest class."""
        return str(self._read("label"))

    @property
    def class_id(self) -> int:
        """Its number."""
        return int(self._read("class_id"))

    @property
    def score(self) -> float:
        """Its probability, 0 to 1."""
        return float(self._read("score"))

    @property
    def scores(self) -> Mapping[str, float]:
        """Of every label."""
        found: Mapping[str, float] = self._read("scores")
        return found

    @property
    def labels(self) -> Mapping[str, float]:
        """Those with a score of 0.5 or more, the likeliest first."""
        return {entry["label"]: entry["score"] for entry in self._read("labels")}

    @property
    def values(self) -> Mapping[str, float]:
        """Numbers by name."""
        found: Mapping[str, float] = self._read("values")
        return found

    @property
    def text(self) -> str:
        """The text."""
        return str(self._read("text"))

    @property
    def typical(self) -> bool | None:
        """Whether the input is like those of training; None of a version that does not say it."""
        found: bool | None = self.answer.get("typical")
        return found

    @property
    def atypicality(self) -> float | None:
        """How unlike them it is: above 1 it is not typical; None of a version that does not say it."""
        found: float | None = self.answer.get("atypicality")
        return found

    @property
    def prediction_set(self) -> Mapping[int, Sequence[str]]:
        """By coverage in percent, the labels that hold the true one in so many of 100 cases; empty if not said."""
        return {int(percent): tuple(names) for percent, names in self.answer.get("prediction_set", {}).items()}

    @property
    def intervals(self) -> Mapping[int, Mapping[str, tuple[float, float]]]:
        """By coverage in percent, both ends around each named number; empty if not said."""
        return {
            int(percent): {name: (low, high) for name, (low, high) in ends.items()}
            for percent, ends in self.answer.get("intervals", {}).items()
        }

    @property
    def outputs(self) -> Mapping[str, Any]:
        """Outputs by name."""
        found: Mapping[str, Any] = self._read("outputs")
        return found

    @property
    def explanation(self) -> Mapping[str, Any]:
        """Why, where ``explain=True`` asked for it: ``words`` with weights, ``weights`` of pixels, or ``columns``."""
        found: Mapping[str, Any] = self._read("explanation")
        return found

    def _read(self, name: str) -> Any:
        try:
            return self.answer[name]
        except KeyError:
            raise WrongKind(f"{self.model} answers with {', '.join(self.answer)}, not with {name}") from None


@dataclass(frozen=True)
class RawAnswer:
    """An answer as it came."""

    status: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    latency_s: float
    reply: Reply = field(repr=False)

    @property
    def version(self) -> int | None:
        """Which answered."""
        found = self.headers.get("x-model-version")
        return int(found) if found else None

    @property
    def request_id(self) -> str:
        """Names the request in the gateway's logs, and in feedback."""
        return self.headers.get("x-request-id", "")

    def json(self) -> Any:
        """Raises ``BrokenAnswer``."""
        return self.reply.json()


def read_raw(reply: Reply) -> RawAnswer:
    return RawAnswer(reply.status, reply.content, reply.headers, reply.took_s, reply)


def read_predictions(reply: Reply, model: str, answers: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """One for each row of a request."""
    headers = reply.headers
    return [
        Prediction(
            answer=answer,
            model=model,
            version=int(headers.get("x-model-version", 0)),
            data=headers.get("x-model-data"),
            request_id=headers.get("x-request-id", ""),
            row=row,
            latency_s=reply.took_s,
        )
        for row, answer in enumerate(answers)
    ]
