"""Who may do how much: predictions, submissions of jobs and searches, and requests without a valid key.

Predictions and failed keys are decided here, in a microsecond; a thread tells the other gateways through Redis each
second, and learns what these have let in (decision 0028). Without Redis each gateway goes on by itself. Submissions are
few, and each asks Redis; without it they are refused.
"""

import threading
from collections.abc import Mapping

import structlog

from modelyard.services.gateway.http.errors import RateLimited
from modelyard.services.gateway.limits.shared_buckets import LimitsUnavailable, SharedBuckets
from modelyard.services.gateway.limits.token_bucket import Decision, Rate, TokenBuckets
from modelyard.services.gateway.settings import GatewaySettings

log = structlog.get_logger()

SYNC_INTERVAL_S = 1.0
MINUTE_S = 60.0
EXPLANATION_COST = 10
"""Predictions that one explained input counts as; it takes as long as 3 to 30."""
PREDICTIONS, SUBMISSIONS, FAILED_KEYS = "predictions", "submissions", "failed-keys"


class RateLimits:
    """All limits of one gateway."""

    def __init__(self, settings: GatewaySettings, shared: SharedBuckets) -> None:
        self._shared = shared
        self._predictions = make_buckets(settings.predictions_per_s, 1.0)
        self._failed_keys = make_buckets(settings.failed_keys_per_min, MINUTE_S)
        submissions = settings.submission_limit_per_min
        self._submissions = Rate.of(submissions, MINUTE_S) if submissions else None
        found = {PREDICTIONS: self._predictions, FAILED_KEYS: self._failed_keys}
        self._local: Mapping[str, TokenBuckets] = {
            kind: buckets for kind, buckets in found.items() if buckets is not None
        }
        self._away = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def take_prediction(self, client: str) -> Decision | None:
        """What this client's bucket says; None where there is no limit."""
        return self._take_local(self._predictions, client)

    def charge_explanations(self, client: str, inputs: int) -> None:
        """Counts explained inputs as the predictions that they cost; the request itself goes on."""
        if self._predictions is not None:
            self._predictions.charge(client, EXPLANATION_COST * inputs)

    def take_failed_key(self, address: str) -> None:
        """Counts a request without a valid key; raises ``RateLimited`` for too many from one address."""
        decision = self._take_local(self._failed_keys, address)
        if decision and not decision.allowed:
            raise RateLimited("too many requests without a valid API key; try again later", decision.headers())

    def take_submission(self, client: str) -> Decision | None:
        """As ``take_prediction``; asks Redis, and may wait.

        Raises:
            RateLimited: the client has none left.
            LimitsUnavailable: Redis does not answer.
        """
        if self._submissions is None:
            return None
        decision = self._shared.take(SUBMISSIONS, client, self._submissions)
        if not decision.allowed:
            limit = f"expected at most {self._submissions.burst:g} submissions a minute"
            raise RateLimited(f"{limit}, received more; try again later", decision.headers())
        return decision

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()
        self._shared.close()

    def _take_local(self, buckets: TokenBuckets | None, client: str) -> Decision | None:
        if buckets is None:
            return None
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rate-limits", daemon=True)
            self._thread.start()
        return buckets.take(client)

    def _run(self) -> None:
        while not self._ended.wait(SYNC_INTERVAL_S):
            for kind, buckets in self._local.items():
                self._sync(kind, buckets)

    def _sync(self, kind: str, buckets: TokenBuckets) -> None:
        if not (taken := buckets.pop_taken()):
            return
        try:
            for client, tokens in self._shared.record(kind, taken, buckets.rate).items():
                buckets.set_level(client, tokens)
            self._away = False
        except LimitsUnavailable as error:
            if not self._away:
                log.warning("rate limits not shared; each gateway counts alone", cause=str(error.__cause__))
            self._away = True


def make_buckets(count: float, per_s: float) -> TokenBuckets | None:
    return TokenBuckets(Rate.of(count, per_s)) if count else None
