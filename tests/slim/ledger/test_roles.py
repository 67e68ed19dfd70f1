"""Roles of PostgreSQL: each process can do its work with its own, and nothing else."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.history import Head
from modelyard.services.keys import KeyRequest, Role
from modelyard.services.ledger import Entry, Job, JobRequest, Kind, Ledger, State, Submission
from modelyard.services.ledger.feedback import CapturedPrediction
from modelyard.services.ledger.notifications import Notification
from modelyard.services.ledger.observations import Drift
from modelyard.services.ledger.sql.engine import open_engine
from modelyard.services.ledger.sql.roles import ROLES
from modelyard.services.ledger.sql.tables import Table
from tests.support.postgres import Postgres

GATEWAY, SCHEDULER, TRAINER = ROLES
PASSWORDS = {role: f"{role}/pass'with\"signs@" for role in ROLES}
SECRET = b"0123456789abcdef0123456789abcdef"
NOW = datetime.now(UTC)


def url_of(owner_url: str, role: str, password: str | None = None) -> str:
    parts = make_url(owner_url).set(username=role, password=password or PASSWORDS[role])
    return parts.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def owner_url(postgres_server: Postgres) -> str:
    """Of the tables' owner, once `modelyard migrate` has made the roles."""
    url = postgres_server.new_database()
    with closing(Ledger(url)) as owner:
        owner.migrate(PASSWORDS)
        owner.migrate(PASSWORDS)
    return url


@pytest.fixture(scope="module")
def ledgers(owner_url: str) -> Iterator[Mapping[str, Ledger]]:
    with ExitStack() as stack:
        yield {role: stack.enter_context(closing(Ledger(url_of(owner_url, role)))) for role in ROLES}


@contextmanager
def connection(owner_url: str, role: str) -> Iterator[Connection]:
    engine = open_engine(url_of(owner_url, role))
    with engine.connect() as found:
        yield found
    engine.dispose()


def submit(ledgers: Mapping[str, Ledger], model: str = "m") -> Job:
    return ledgers[GATEWAY].jobs.add(JobRequest(model=model), by="ann", submission=Submission(f"k{model}", "d"))


def captured(number: int) -> CapturedPrediction:
    return CapturedPrediction(f"r{number}", 0, "m", 1, "x", "float32", (1,), b"1234", 1.0, None, NOW)


def test_a_role_has_something_to_say_about_every_table() -> None:
    """A new table must be thought of, and no role names one that there is not."""
    named = {table for grants in ROLES.values() for table in grants}
    assert named == {*Table.metadata.tables, "alembic_version"}


def test_the_gateway_does_its_work(ledgers: Mapping[str, Ledger]) -> None:
    """Jobs, searches, triggers, keys, captured predictions and feedback, counts, the trail."""
    ledger = ledgers[GATEWAY]
    ledger.prepare()
    job = submit(ledgers, "of_gateway")
    assert submit(ledgers, "of_gateway").id == job.id
    ledger.jobs.cancel(job.id, "ann")
    ledger.jobs.delete_submission(Submission("kof_gateway", "d"))
    assert ledger.jobs.list_events(job.id)
    assert ledger.logs.read(job.id) == ""
    assert ledger.workers.list_queues() is not None
    search = ledger.searches.add("search-g", "m", "ann", {"asked": {}})
    assert ledger.searches.cancel(search, "ann")
    for _ in range(2):
        ledger.triggers.put("m", "of_gateway", {}, "ann")
    ledger.triggers.remove("m", "of_gateway", "ann")
    key, _ = ledger.keys.create(KeyRequest(name="g", role=Role.VIEWER), "ann", SECRET)
    ledger.keys.revoke(key.prefix, "ann")
    ledger.feedback.capture([captured(1)])
    ledger.feedback.record_truth(captured(1), 1.0, right=True, client="c")
    ledger.feedback.prune(NOW, 0)
    for _ in range(2):
        ledger.observations.put_counts("m", "canary", 1, NOW, "g", {"answers": 1})
        ledger.observations.put_traffic("m", 1, "g", 0, {"requests": 1})
    ledger.observations.read_analysis("m", NOW)
    ledger.observations.sum_traffic(["m"], NOW)
    ledger.observations.list_drift()
    ledger.audit.record(Entry(Kind.DENIED, "a", "eve"))
    assert ledger.audit.find(filters={"kind": "denied"})
    assert ledger.audit.verify(Kind.KEY).count == 2


def test_the_scheduler_does_its_work(ledgers: Mapping[str, Ledger]) -> None:
    """First versions, triggers, searches, canaries, drift, notifications, histories and retention."""
    ledger = ledgers[SCHEDULER]
    ledger.prepare()
    job = ledger.jobs.add(JobRequest(model="s"), by="first version", submission=Submission("ks", "d"))
    ledger.jobs.finish(job, State.FAILED, {"reason": "r"})
    trigger = ledgers[GATEWAY].triggers.put("s", "t", {}, "ann")
    assert ledger.triggers.record_firing(trigger, job.id)
    search = ledgers[GATEWAY].searches.add("search-s", "s", "ann", {"asked": {}})
    assert ledger.searches.begin_rung(search, [])
    for revision in range(2):
        assert ledger.observations.save_analysis("s", NOW, revision, {})
    ledger.observations.note_look("s", NOW)
    ledger.observations.prune_traffic(timedelta(days=1))
    ledger.observations.sum_counts("s", NOW)
    ledger.feedback.count_mistakes("s", NOW)
    ledger.feedback.list_newest_predictions("s", 1, 10)
    for _ in range(2):
        ledger.observations.put_drift(Drift("s", 1, 1, {}, NOW))
    since = ledger.notifications.begin()
    ledger.notifications.list_untold_jobs([State.FAILED], since)
    ledger.notifications.add([Notification("x", "drift", {})])
    (due,) = ledger.notifications.list_due(1)
    claimed = ledger.notifications.claim(due, 1.0)
    assert claimed
    ledger.notifications.end(claimed, sent=True)
    ledger.notifications.prune(timedelta(0))
    assert ledger.audit.record_history("s", Head(), Head(1, "a" * 64), [Entry(Kind.ROLLOUT, "promote", "ann")])
    ledgers[GATEWAY].audit.record(Entry(Kind.DENIED, "a", "eve"))
    assert ledger.audit.prune({Kind.DENIED: -1})
    assert ledger.audit.verify(Kind.DENIED)


def test_the_trainer_does_its_work(ledgers: Mapping[str, Ledger]) -> None:
    """From the claim of a job to its version, which is in the trail."""
    ledger = ledgers[TRAINER]
    ledger.prepare()
    for _ in range(2):
        ledger.workers.register("w", ["train.cpu"])
    job = ledger.jobs.claim(submit(ledgers, "of_trainer").id, "w")
    assert job
    assert ledger.jobs.renew(job)
    ledger.jobs.record_progress(job, {"stage": "train"}, milestone=True)
    ledger.logs.write(job.id, "x" * 300_000)
    ledger.logs.write(job.id, "y" * 300_000)
    ledger.feedback.list_examples("of_trainer", 10)
    assert ledger.jobs.requeue(job, "stopped", lost=False)
    job = ledger.jobs.claim(job.id, "w")
    assert job
    assert ledger.jobs.begin_publishing(job)
    assert ledger.jobs.finish(job, State.SUCCEEDED, {"version": 3})
    assert ledger.jobs.list_held("w") == ()
    assert job.id not in {each.id for each in (*ledger.jobs.list_lost(), *ledger.jobs.list_queued())}
    ledger.workers.unregister("w")
    (published,) = ledgers[GATEWAY].audit.find(filters={"kind": "version", "model": "of_trainer"})
    assert (published.version, published.by) == (3, f"job {job.id} of ann")
    assert ledgers[GATEWAY].audit.verify(Kind.VERSION).count >= 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM keys",
        "INSERT INTO keys SELECT * FROM keys",
        "SELECT * FROM triggers",
        "SELECT * FROM searches",
        "SELECT * FROM submissions",
        "INSERT INTO jobs (id) VALUES ('job-x')",
        "UPDATE jobs SET by = 'ann'",
        "UPDATE jobs SET model = 'other'",
        "DELETE FROM jobs",
        "UPDATE events SET kind = 'x'",
        "DELETE FROM events",
        "UPDATE feedback SET truth = 1",
        "DELETE FROM audit",
        "UPDATE audit SET by = 'eve'",
        "DELETE FROM chains",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE TABLE x (y int)",
        "CREATE ROLE eve SUPERUSER",
        "ALTER ROLE modelyard_trainer SUPERUSER",
        "ALTER TABLE audit DISABLE ROW LEVEL SECURITY",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "SET ROLE modelyard",
    ],
)
def test_what_the_trainer_may_not_do_the_database_refuses(owner_url: str, statement: str) -> None:
    """Its container runs the code of models, which can read its password."""
    with connection(owner_url, TRAINER) as trainer, pytest.raises(DBAPIError, match=r"denied|must be"):
        trainer.execute(text(statement))


def test_the_trainer_appends_only_versions_to_the_trail_and_sees_nothing_else_of_it(
    owner_url: str, ledgers: Mapping[str, Ledger]
) -> None:
    """Neither the entries nor the chains of others."""
    submit(ledgers, "seen")
    assert ledgers[GATEWAY].audit.find(filters={"kind": "job"})
    assert ledgers[TRAINER].audit.find(filters={"kind": "job"}) == ()
    with pytest.raises(StorageFailed, match="row-level security"):
        ledgers[TRAINER].audit.record(Entry(Kind.ROLLOUT, "promote", "ann"))
    with connection(owner_url, TRAINER) as trainer:
        changed = trainer.execute(text("UPDATE chains SET count = 0 WHERE name <> 'audit version'"))
        assert changed.rowcount == 0
        trainer.rollback()
    assert ledgers[GATEWAY].audit.verify(Kind.JOB).count >= 1


@pytest.mark.parametrize("role", [GATEWAY, SCHEDULER])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET by = 'eve'",
        "TRUNCATE audit",
        "DROP TABLE audit",
        "DELETE FROM jobs",
        "DELETE FROM keys",
        "DROP TRIGGER audit_row ON audit",
        "CREATE TABLE x (y int)",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_nobody_else_changes_the_trail_or_the_tables(owner_url: str, role: str, statement: str) -> None:
    """Only their owner, which no process that stays up is."""
    with connection(owner_url, role) as other, pytest.raises(DBAPIError, match=r"denied|must be owner"):
        other.execute(text(statement))


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (GATEWAY, "DELETE FROM audit"),
        (SCHEDULER, "SELECT * FROM keys"),
        (SCHEDULER, "INSERT INTO answers (id) VALUES (1)"),
    ],
)
def test_gateway_and_scheduler_do_not_have_each_others_privileges(owner_url: str, role: str, statement: str) -> None:
    """The scheduler needs no keys; the gateway deletes nothing of the trail."""
    with connection(owner_url, role) as other, pytest.raises(DBAPIError, match="denied"):
        other.execute(text(statement))


def test_a_new_password_takes_the_old_ones_place(owner_url: str) -> None:
    """It is stored as a hash; roles that are not named stay as they are."""
    with closing(Ledger(owner_url)) as owner:
        owner.migrate({TRAINER: "another"})
        try:
            with (
                pytest.raises(StorageFailed, match="password authentication failed"),
                closing(Ledger(url_of(owner_url, TRAINER))) as old,
            ):
                old.prepare()
            with closing(Ledger(url_of(owner_url, TRAINER, "another"))) as new:
                new.prepare()
            with closing(Ledger(url_of(owner_url, GATEWAY))) as other:
                other.prepare()
        finally:
            owner.migrate(PASSWORDS)
    engine = open_engine(owner_url)
    with engine.connect() as found:
        stored = found.scalars(text("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'modelyard_%'")).all()
    engine.dispose()
    assert all(each.startswith("SCRAM-SHA-256$") for each in stored)


def test_sqlite_has_no_roles(tmp_path: Path) -> None:
    """Their passwords would promise what is not so."""
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        with pytest.raises(StorageFailed, match="only PostgreSQL has roles"):
            ledger.migrate(PASSWORDS)
        ledger.prepare()
