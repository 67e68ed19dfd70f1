"""The jobs that an empty system submits by itself, and what it leaves alone."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from celery import Celery
from kombu.transport import memory

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.models.registry.store import Store
from modelyard.services import jobs
from modelyard.services.ledger import JobRequest, Ledger, State
from modelyard.services.scheduler.first_versions import BY, FirstVersions
from modelyard.services.tracing.spans import RecordedSpan, Tracing
from tests.support.fakes import HALF_PLUS, publish
from tests.support.ledgers import new_ledger_file

EPOCHS = RecipeField(default=2, constraints={"type": "integer", "minimum": 1})


def catalog_of(*names: str) -> Catalog:
    recipes = {"quick": {"epochs": EPOCHS}}
    made = {
        name: TrainableModel(name=name, task="", summary="", dataset="", homepage="", recipes=recipes) for name in names
    }
    return Catalog(digest="", trainable=made)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    found.prepare()
    (found.root / FILE).write_text(catalog_of(HALF_PLUS, "other").model_dump_json())
    return found


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{new_ledger_file(tmp_path / 'ledger.db')}")) as opened:
        yield opened


class Reachable:
    """As much of Redis's client as is used to check that the broker is there."""

    def ping(self) -> bool:
        return True


class Channel(memory.Channel):
    client = Reachable()


class Transport(memory.Transport):
    Channel = Channel


@pytest.fixture
def queue() -> Celery:
    return Celery("test", broker="memory://", set_as_current=False, broker_transport=Transport)


@pytest.fixture
def first(store: Store, ledger: Ledger, queue: Celery) -> FirstVersions:
    return FirstVersions(store, ledger, queue, [HALF_PLUS])


def list_jobs(ledger: Ledger) -> list[tuple[str, str, State]]:
    return [(job.model, job.by, job.state) for job in ledger.jobs.find()]


def test_a_model_without_a_version_gets_one_job(first: FirstVersions, ledger: Ledger) -> None:
    """However often it is checked."""
    for _ in range(3):
        first.submit_missing()
    assert list_jobs(ledger) == [(HALF_PLUS, BY, State.QUEUED)]


def test_two_schedulers_submit_one_job(first: FirstVersions, store: Store, ledger: Ledger, queue: Celery) -> None:
    """The second one gets the first one's job, even after that has begun and ended."""
    first.submit_missing()
    (job,) = ledger.jobs.find()
    ledger.jobs.cancel(job.id, "somebody")
    FirstVersions(store, ledger, queue, [HALF_PLUS]).submit_missing()
    assert list_jobs(ledger) == [(HALF_PLUS, BY, State.CANCELLED)]


def test_a_first_version_is_told_by_whoever_submitted_its_job(
    first: FirstVersions, store: Store, ledger: Ledger, queue: Celery
) -> None:
    """The job's row has that span as its parent; a scheduler that came later tells nothing."""
    said = list[RecordedSpan]()
    tracing = Tracing(1.0, said.append, lambda: None)
    replace(first, tracing=tracing).submit_missing()
    (job,) = ledger.jobs.find()
    (span,) = said
    assert ledger.jobs.get_traceparent(job.id) == span.context.traceparent
    assert span.attributes == {"modelyard.model": HALF_PLUS, "modelyard.job.id": job.id}
    ledger.jobs.cancel(job.id, "somebody")
    FirstVersions(store, ledger, queue, [HALF_PLUS], tracing).submit_missing()
    assert len(said) == 1


def test_a_model_with_a_stable_version_is_left_alone(first: FirstVersions, store: Store, ledger: Ledger) -> None:
    """Also after a restart with an empty ledger."""
    publish(store, HALF_PLUS)
    first.submit_missing()
    assert list_jobs(ledger) == []


def test_a_job_that_somebody_submitted_is_enough(first: FirstVersions, ledger: Ledger, queue: Celery) -> None:
    """Theirs is on its way."""
    theirs = jobs.submit(ledger, queue, JobRequest(model=HALF_PLUS), "somebody")
    first.submit_missing()
    assert [job.id for job in ledger.jobs.find()] == [theirs.id]


@pytest.mark.parametrize("written", [None, catalog_of("other")])
def test_without_a_trainer_that_knows_the_model_no_job_is_submitted(
    first: FirstVersions, store: Store, ledger: Ledger, written: Catalog | None
) -> None:
    """It waits, and submits when one has announced its models."""
    catalogue = store.root / FILE
    catalogue.unlink()
    if written:
        catalogue.write_text(written.model_dump_json())
    first.submit_missing()
    assert list_jobs(ledger) == []
    catalogue.write_text(catalog_of(HALF_PLUS).model_dump_json())
    first.submit_missing()
    assert len(list_jobs(ledger)) == 1


def test_a_lasting_condition_is_logged_once(first: FirstVersions, store: Store) -> None:
    """A log that is read by people."""
    (store.root / FILE).unlink()
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            first.submit_missing()
    waits = "waits: no trainer has announced its models yet; try again in a few seconds"
    assert [line["state"] for line in lines] == [waits]
