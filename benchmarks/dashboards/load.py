"""The load of ``benchmarks.dashboards``: predictions, right ones and wrong ones, feedback, and a canary."""

import threading
import time
from collections.abc import Callable

import httpx
import numpy as np

from benchmarks.console.system import draw
from benchmarks.dashboards.system import Observed

FEEDBACK_EVERY = 5
WRONG_EVERY, EXPLAINED_EVERY = 25, 50
KINDS_OF_DIGITS = 3
"""Of ten that there are: so what is asked drifts from what was trained."""
CANARY = "neuron"


class Load:
    """Sends in a thread of its own until it is stopped. Errors are what is measured: they are counted elsewhere."""

    def __init__(self, system: Observed, rate: float) -> None:
        self._system, self._pause_s = system, 1 / rate
        self._over = threading.Event()
        self._random = np.random.default_rng(0)
        self._number = 0
        self._pictures = [draw(digit, self._random).tolist() for digit in range(10)]
        self._threads = [threading.Thread(target=self._run, args=(do,), daemon=True) for do in self._list_work()]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def train_canary(self) -> None:
        """A job whose version becomes a canary, which so few requests do not decide."""
        job = {"model": CANARY, "data": "sample", "overrides": {"seed": 7}, "rollout": "canary"}
        self._system.http.post("/api/jobs", json=job).raise_for_status()

    def _list_work(self) -> tuple[Callable[[httpx.Client], None], ...]:
        return (self._ask_numbers, self._ask_digits, self._ask_classes)

    def _run(self, do: Callable[[httpx.Client], None]) -> None:
        headers = self._system.http.headers
        with httpx.Client(base_url=self._system.local.url, timeout=10, headers=headers) as http:
            while not self._over.wait(self._pause_s * len(self._threads)):
                try:
                    do(http)
                except httpx.HTTPError:
                    time.sleep(0.5)  # the gateway stands still

    def _ask_numbers(self, http: httpx.Client) -> None:
        self._number += 1
        if self._number % WRONG_EVERY == 0:
            http.post(f"/v1/models/{CANARY}:predict", json={"instances": ["no number"]})
            return
        rows = [[float(value)] for value in self._random.uniform(-1, 1, 1 + self._number % 4)]
        http.post(f"/v1/models/{CANARY}:predict", json={"instances": rows})

    def _ask_digits(self, http: httpx.Client) -> None:
        digit = int(self._random.integers(KINDS_OF_DIGITS))
        pixels = draw(digit, self._random).tolist()
        explain = "?labels=scores&explain=1" if self._random.integers(EXPLAINED_EVERY) == 0 else ""
        answer = http.post(f"/v1/models/mnist_mlp:predict{explain}", json={"instances": [pixels]})
        if answer.is_success and self._random.integers(FEEDBACK_EVERY) == 0:
            truth = {"request_id": answer.headers["X-Request-Id"], "label": str(digit)}
            http.post("/api/feedback", json=truth)

    def _ask_classes(self, http: httpx.Client) -> None:
        """Few different pictures, so that the response cache has some, and as many of mere noise."""
        picture = self._pictures[int(self._random.integers(len(self._pictures)))]
        http.post("/v1/models/logistic:predict", json={"instances": [picture]})
        noise = self._random.integers(0, 256, (28, 28, 1)).tolist()
        http.post("/v1/models/logistic:predict", json={"instances": [noise]})
        http.post("/v2/models/logistic/infer", json={"inputs": []})  # refused
