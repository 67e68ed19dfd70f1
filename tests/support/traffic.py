"""Clients of a version-revealing model that know the right answer: version N computes x/2 + N."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.support.http import WITHOUT_TLS

PAUSE_S = 0.02
"""Of a client between two requests: leaves the processors to the servers."""


@dataclass
class Traffic:
    """What clients of a version-revealing model saw. ``failed`` and ``wrong`` are what must not be."""

    url: str
    pinned: int | None = None
    """Version that pinned clients name."""
    right: list[float] = field(default_factory=list)
    """Times of right responses."""
    responses: list[tuple[float, float, int]] = field(default_factory=list)
    """Of each right one: when its request was sent, when it was received, and its version."""
    last_sent: dict[int, float] = field(default_factory=dict)
    """By client: when its last request that got a response was sent."""
    versions: Counter[int] = field(default_factory=Counter)
    refused: list[httpx.Response] = field(default_factory=list)
    """503 with Retry-After."""
    late: list[httpx.Response] = field(default_factory=list)
    """504."""
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def ask(self, http: httpx.Client, client: int, number: int, *, pinned: bool) -> None:
        sent_at = time.monotonic()
        self._ask(http, number, self.pinned if pinned else None, sent_at)
        self.last_sent[client] = sent_at

    def _ask(self, http: httpx.Client, number: int, version: int | None, sent_at: float) -> None:
        path = f"/versions/{version}" if version else ""
        try:
            response = http.post(f"{self.url}{path}:predict", json={"instances": [number]})
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return
        if response.status_code == httpx.codes.OK:
            self._judge(response, number, version, sent_at)
        elif response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in response.headers:
            self.refused.append(response)
        elif response.status_code == httpx.codes.GATEWAY_TIMEOUT:
            self.late.append(response)
        else:
            self.failed.append(f"{path} {response.status_code} {response.text}")

    def _judge(self, response: httpx.Response, number: int, pinned: int | None, sent_at: float) -> None:
        version = int(response.headers["X-Model-Version"])
        if response.json() == {"predictions": [number / 2 + version]} and pinned in (None, version):
            self.right.append(received_at := time.monotonic())
            self.responses.append((sent_at, received_at, version))
            self.versions[version] += 1
        else:
            self.wrong.append(f"{number} asked of {pinned or 'the latest'}: version {version} returned {response.text}")

    @property
    def request_count(self) -> int:
        refused = len(self.refused) + len(self.late)
        return len(self.right) + refused + len(self.wrong) + len(self.failed)


@contextmanager
def traffic(
    url: str, model: str, clients: int = 4, pinned: int | None = None, headers: Mapping[str, str] | None = None
) -> Iterator[Traffic]:
    """Clients that send request after request; with ``pinned``, every other one names that version."""
    seen = Traffic(f"{url}/v1/models/{model}", pinned, last_sent=dict.fromkeys(range(clients), 0.0))
    stop = threading.Event()

    def client(index: int) -> None:
        number = index
        with httpx.Client(timeout=30, headers=headers, **WITHOUT_TLS) as http:
            while not stop.wait(PAUSE_S):
                number = (number + clients) % 1000
                seen.ask(http, index, number, pinned=bool(index % 2))

    threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def more(seen: Traffic, count: int = 20) -> Callable[[], bool]:
    """Whether so many right responses came since now."""
    before = len(seen.right)
    return lambda: len(seen.right) >= before + count


def saw_every_client_again(seen: Traffic) -> Callable[[], bool]:
    """Whether every client has sent a request since now and got its response: nothing older is in flight."""
    now = time.monotonic()
    return lambda: min(seen.last_sent.values()) > now
