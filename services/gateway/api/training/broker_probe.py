"""Whether the broker answers: asked at most every two seconds, whoever wants to know."""

import threading
import time
from typing import Any

TIMEOUT_S = 1.0
KEPT_S = 2.0
AWAY = "the job queue is not reachable: nothing can be submitted, and no worker takes another job until it is"


class BrokerProbe:
    """Connects at the first call. A gateway that only predicts never asks."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("redis+socket://", "unix://", 1)  # kombu's name of it, and redis-py's
        self._lock = threading.Lock()
        self._client: Any = None
        self._asked_at = float("-inf")
        self._problem: str | None = None

    def read(self) -> str | None:
        """What is wrong with it; None if it answers."""
        with self._lock:
            if time.monotonic() - self._asked_at > KEPT_S:
                self._problem = self._ask()
                self._asked_at = time.monotonic()
            return self._problem

    def _ask(self) -> str | None:
        from modelyard.services.tracing.redis_client import Redis, RedisError

        try:
            self._client = self._client or Redis.from_url(
                self._url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
            )
            self._client.ping()
        except (RedisError, OSError, ValueError):
            return AWAY
        return None
