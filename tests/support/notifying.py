"""A notifier with a ledger and a receiver of its own, and what it may tell of."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelyard.models.registry.history import Head
from modelyard.services.ledger import Entry, Job, JobRequest, Kind, Ledger, State
from modelyard.services.ledger.observations import Drift
from modelyard.services.scheduler.canary_analysis import BY
from modelyard.services.scheduler.notifications.notifier import Notifier
from modelyard.services.scheduler.notifications.webhook import Webhook
from modelyard.services.scheduler.settings import SchedulerSettings
from tests.support.ledgers import new_ledger_file
from tests.support.webhook import Receiver

TOKEN = "a-token-of-the-receiver"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """On one database: what differs between them is claimed and found in tests of its own."""
    with closing(Ledger(f"sqlite:///{new_ledger_file(tmp_path / 'ledger.db')}")) as found:
        yield found


@pytest.fixture
def outcomes() -> "Counter[str]":
    return Counter()


@pytest.fixture
def make(ledger: Ledger, receiver: Receiver, outcomes: "Counter[str]") -> Iterator[Callable[..., Notifier]]:
    """A notifier, which has begun: what the test does afterwards is told. It tries again at once."""
    opened: list[Webhook] = []

    def open_one(pause: Callable[[int], float] = lambda _: 0.0, **given: Any) -> Notifier:
        settings = SchedulerSettings.load(**{"notify_url": receiver.url, **given})
        opened.append(Webhook(settings))
        ledger.notifications.begin()
        return Notifier(ledger, settings, opened[-1], lambda outcome: outcomes.update([outcome]), pause)

    yield open_one
    for webhook in opened:
        webhook.close()


def end_job(ledger: Ledger, state: State, reason: str = "a reason", group: str | None = None) -> Job:
    job = ledger.jobs.add(JobRequest(model="m"), by="ann", group=group)
    claimed = ledger.jobs.claim(job.id, "worker")
    assert claimed
    if state is State.SUCCEEDED:
        assert ledger.jobs.begin_publishing(claimed)
    assert ledger.jobs.finish(claimed, state, {"reason": reason})
    return ledger.jobs.get(job.id)


def decide(ledger: Ledger, action: str, by: str = BY) -> None:
    """As the scheduler carries it from a rollout's history into the trail."""
    known = ledger.audit.read_history_head("m")
    entry = Entry(Kind.ROLLOUT, action, by, model="m", version=3, detail={"reason": "nothing spoke against it"})
    assert ledger.audit.record_history("m", known, Head(known.count + 1, "a" * 64), [entry])


def drift(ledger: Ledger, psi: float) -> None:
    shifts = {"answer class": {"psi": psi}, "input ink": {"psi": psi / 2}}
    ledger.observations.put_drift(Drift("m", 3, 500, shifts, datetime.now(UTC)))
