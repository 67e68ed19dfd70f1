"""The inputs, and the form of request in which each contender takes them."""

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.answers import Expected, instances_body, request, v2_body
from benchmarks.serving.roster import ROOT, Contender


@dataclass(frozen=True)
class Kind:
    """A sort of request."""

    name: str
    title: str
    model: str
    rates: tuple[int, ...]
    """Requests per second of the open loops."""
    content_type: str = "application/json"


KINDS = (
    Kind("mnist_json", "MNIST CNN, one 28x28x1 image as JSON", "mnist_cnn", (200, 500, 1000)),
    Kind("mnist_png", "MNIST CNN, one image as a PNG body", "mnist_cnn", (), "image/png"),
    Kind("sentiment", "Sentiment LSTM, one review of 200 words", "sentiment_lstm", (100, 400, 800)),
)


@dataclass(frozen=True)
class Workload:
    """Inputs of one kind with the right answers."""

    kind: Kind
    inputs: tuple[Any, ...]
    expected: tuple[Expected, ...]

    def suits(self, contender: Contender) -> bool:
        """Whether a contender takes such bodies; raw images are ours only."""
        return self.kind.content_type == "application/json" or contender.kind == "ours"

    def form(self, contender: Contender) -> str:
        return contender.form if self.kind.content_type == "application/json" else "labels"

    def requests(self, contender: Contender, port: int) -> tuple[bytes, ...]:
        """Whole HTTP requests, one per input."""
        path = contender.path.format(model=self.kind.model)
        return tuple(request(port, path, self.kind.content_type, self._body(contender, each)) for each in self.inputs)

    def _body(self, contender: Contender, given: Any) -> bytes:
        if self.kind.content_type != "application/json":
            return base64.b64decode(given)
        return v2_body(given) if contender.body == "v2" else instances_body(given)


def load_all(store: Path) -> dict[str, Workload]:
    """Every workload by name; the SavedModels compute the right outputs."""
    command = [sys.executable, "-m", "benchmarks.serving.expected", str(store)]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"no expected answers from {store}: {done.stderr.decode()[-500:]}")
    found = json.loads(done.stdout)
    return {kind.name: _workload(kind, found[kind.name]) for kind in KINDS}


def _workload(kind: Kind, found: dict[str, Any]) -> Workload:
    expected = tuple(Expected(tuple(row["probabilities"]), row["class_id"]) for row in found["expected"])
    return Workload(kind, tuple(found["inputs"]), expected)
