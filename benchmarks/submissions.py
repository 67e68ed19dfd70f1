"""Training jobs that are submitted all the time, each until it was accepted once."""

import secrets
import threading
from collections import Counter

import httpx

from benchmarks.linear_oracle import MODEL
from benchmarks.whole import Whole
from modelyard.services.ledger import OPEN

BACKLOG = 5
"""Jobs that run or wait at any time."""
RETRY_S = 0.5
EPOCHS = 30
"""Long enough to be killed between two checkpoints."""


class Submissions:
    """Asks in a thread of its own. A request that was refused or lost comes again with the same Idempotency-Key."""

    def __init__(self, system: Whole) -> None:
        self._system = system
        self._http = httpx.Client(base_url=system.local.url, timeout=30, trust_env=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="submissions", daemon=True)
        self.accepted: list[str] = []
        self.refused = 0
        """503 with Retry-After."""
        self.other: Counter[str] = Counter()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._http.close()

    def _run(self) -> None:
        key, number = secrets.token_hex(8), 0
        while not self._stop.wait(RETRY_S):
            if self.open() < BACKLOG and self._ask(key, number):
                key, number = secrets.token_hex(8), number + 1

    def open(self) -> int:
        """Jobs that were accepted and have not ended."""
        return len(self._system.ledger.jobs.find(states=OPEN, limit=100))

    def _ask(self, key: str, seed: int) -> bool:
        """Whether it was accepted."""
        job = {"model": MODEL, "recipe": "quick", "overrides": {"seed": seed, "epochs": EPOCHS}}
        try:
            answer = self._http.post("/api/jobs", json=job, headers={"Idempotency-Key": key})
        except httpx.HTTPError as error:
            self.other[type(error).__name__] += 1
            return False
        if answer.status_code == httpx.codes.ACCEPTED:
            self.accepted.append(answer.json()["id"])
            return True
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in answer.headers:
            self.refused += 1
        else:
            self.other[f"{answer.status_code} {answer.text[:100]}"] += 1
        return False
