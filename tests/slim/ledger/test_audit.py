"""The audit trail: written with what it records, never changed, and whole; or what is wrong with it is found."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.history import START, BrokenChain, Head
from modelyard.services.keys import KeyRequest, Role, TooManyKeys
from modelyard.services.ledger import Entry, JobRequest, Kind, Ledger, Origin, State, Submission
from modelyard.services.ledger.sql.engine import open_engine

SECRET = b"0123456789abcdef0123456789abcdef"
ANN = Origin("0123456789ab", "operator", "request-1")
OLD = datetime.now(UTC) - timedelta(days=100)


@contextmanager
def connection(url: str) -> Iterator[Connection]:
    """Past all that the code promises."""
    engine = open_engine(url)
    with engine.begin() as found:
        yield found
    engine.dispose()


def tamper(url: str, *statements: str) -> None:
    """As who owns the database can."""
    with connection(url) as owner:
        if owner.dialect.name == "sqlite":
            owner.execute(text("DROP TRIGGER audit_unchanged"))
            owner.execute(text("DROP TRIGGER audit_undeleted"))
        else:
            owner.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        for statement in statements:
            owner.execute(text(statement), {"old": OLD})
        if owner.dialect.name != "sqlite":
            owner.execute(text("ALTER TABLE audit ENABLE TRIGGER ALL"))


@contextmanager
def audit_away(url: str) -> Iterator[None]:
    """There is no table of that name until the end of the block."""
    with connection(url) as owner:
        owner.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
    try:
        yield
    finally:
        with connection(url) as owner:
            owner.execute(text("ALTER TABLE elsewhere RENAME TO audit"))


def record(ledger: Ledger, count: int, kind: Kind = Kind.ROLLOUT) -> None:
    for number in range(count):
        ledger.audit.record(Entry(kind, "promote", "ann", ANN, model="m", version=number + 1))


def test_changes_of_jobs_searches_triggers_and_keys_are_in_the_trail(ledger: Ledger) -> None:
    """Who, from where, what, about what; in one order."""
    job = ledger.jobs.add(JobRequest(model="m", overrides={"seed": 1}), by="ann", origin=ANN)
    again = ledger.jobs.add(JobRequest(model="m"), by="ann", retry_of=job.id)
    ledger.jobs.cancel(again.id, "bob")
    claimed = ledger.jobs.claim(job.id, "w")
    assert claimed
    assert ledger.jobs.begin_publishing(claimed)
    ledger.jobs.finish(claimed, State.SUCCEEDED, {"version": 7})
    search = ledger.searches.add("search-1", "m", "ann", {"asked": {"trials": 4}}, ANN)
    ledger.searches.cancel(search, "bob")
    ledger.triggers.put("m", "nightly", {"cron": "0 3 * * *"}, "ann", ANN)
    ledger.triggers.remove("m", "nightly", "bob")
    key, _ = ledger.keys.create(KeyRequest(name="eve", role=Role.VIEWER), "ann", SECRET, ANN)
    ledger.keys.revoke(key.prefix, "bob")
    found = ledger.audit.find(filters={}, limit=100)
    assert [(each.kind, each.action, each.by, each.subject) for each in reversed(found)] == [
        ("job", "submit", "ann", job.id),
        ("job", "retry", "ann", again.id),
        ("job", "cancel", "bob", again.id),
        ("version", "publish", f"job {job.id} of ann", job.id),
        ("search", "submit", "ann", "search-1"),
        ("search", "cancel", "bob", "search-1"),
        ("trigger", "set", "ann", "nightly"),
        ("trigger", "remove", "bob", "nightly"),
        ("key", "create", "ann", key.prefix),
        ("key", "revoke", "bob", key.prefix),
    ]
    (first,) = ledger.audit.find(filters={"subject": job.id, "kind": "job"})
    assert (first.prefix, first.role, first.request_id, first.model) == (ANN.prefix, ANN.role, ANN.request_id, "m")
    assert first.detail["overrides"] == {"seed": 1}
    assert [ledger.audit.verify(kind).count for kind in Kind] == [3, 2, 2, 0, 1, 2, 0, 0]


def test_what_changes_nothing_is_not_in_the_trail(ledger: Ledger) -> None:
    """A repeated submission, a second cancellation or revocation, a key too many."""
    submission = Submission("k", "d")
    job = ledger.jobs.add(JobRequest(model="m"), by="ann", submission=submission)
    assert ledger.jobs.add(JobRequest(model="m"), by="ann", submission=submission).id == job.id
    keys = [ledger.keys.create(KeyRequest(name="eve", role=Role.VIEWER), "ann", SECRET)[0] for _ in range(2)]
    with pytest.raises(TooManyKeys):
        ledger.keys.create(KeyRequest(name="eve", role=Role.VIEWER), "ann", SECRET)
    for _ in range(2):
        ledger.jobs.cancel(job.id, "ann")
        ledger.keys.revoke(keys[0].prefix, "ann")
    assert [ledger.audit.verify(kind).count for kind in (Kind.JOB, Kind.KEY)] == [2, 3]


def test_without_its_entry_nothing_is_changed(ledger: Ledger, ledger_url: str) -> None:
    """They are one transaction; the error is the ledger's, 503."""
    key, _ = ledger.keys.create(KeyRequest(name="eve", role=Role.VIEWER), "ann", SECRET)
    job = ledger.jobs.add(JobRequest(model="m"), by="ann")
    search = ledger.searches.add("search-1", "m", "ann", {"asked": {}})
    ledger.triggers.put("m", "t", {}, "ann")
    refused: list[Callable[[], object]] = [
        lambda: ledger.keys.revoke(key.prefix, "ann"),
        lambda: ledger.keys.create(KeyRequest(name="new", role=Role.VIEWER), "ann", SECRET),
        lambda: ledger.jobs.add(JobRequest(model="m"), by="ann"),
        lambda: ledger.jobs.cancel(job.id, "ann"),
        lambda: ledger.searches.cancel(search, "ann"),
        lambda: ledger.triggers.put("m", "t", {"cron": "0 3 * * *"}, "ann"),
        lambda: ledger.triggers.remove("m", "t", "ann"),
    ]
    with audit_away(ledger_url):
        for each in refused:
            with pytest.raises(StorageFailed) as refusal:
                each()
            assert refusal.value.status == 503
    assert [found.state for found in ledger.keys.list_keys()] == ["active"]
    assert [found.state for found in ledger.jobs.find()] == [State.QUEUED]
    assert ledger.searches.get("search-1").finished_at is None
    assert [found.body for found in ledger.triggers.list_triggers()] == [{}]


def test_no_secret_gets_into_the_trail(ledger: Ledger, ledger_url: str) -> None:
    """An API key is masked wherever somebody put it."""
    _, key = ledger.keys.create(KeyRequest(name="eve", role=Role.VIEWER), "ann", SECRET)
    entry = Entry(
        Kind.ROLLOUT, "promote", f"by {key}", model=key, subject=key, detail={"reason": [key.upper()], key: 1}
    )
    ledger.audit.record(entry)
    with connection(ledger_url) as owner:
        everything = str(owner.execute(text("SELECT * FROM audit")).all())
    assert key.split("_", 2)[2].lower() not in everything.lower()
    assert "***" in everything


def test_any_text_can_be_recorded_and_is_whole(ledger: Ledger) -> None:
    """Whatever a client puts into a path or a reason: NUL, another script, a time with a zone, a nested value."""
    detail = {"reason": "a\x00b ✓ \U0001f600", "at": OLD, "share": 0.1, "nested": {"list": (1, 2.5, None, True)}}
    ledger.audit.record(Entry(Kind.DENIED, "a", "", model="x\x00y", subject="\x00", detail=detail))
    (found,) = ledger.audit.find(filters={})
    assert (found.model, found.subject, found.detail["nested"]) == ("xy", "", {"list": [1, 2.5, None, True]})
    assert ledger.audit.verify(Kind.DENIED).count == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET by = 'eve' WHERE number = 2",
        "DELETE FROM audit WHERE number = 2",
        "DELETE FROM audit WHERE number = 1",
        "DELETE FROM audit",
    ],
)
def test_the_database_refuses_to_change_entries(ledger: Ledger, ledger_url: str, change: str) -> None:
    """Whatever the code does."""
    record(ledger, 3)
    with pytest.raises(DBAPIError, match="append-only"), connection(ledger_url) as owner:
        owner.execute(text(change))
    assert ledger.audit.verify(Kind.ROLLOUT).count == 3


@pytest.mark.parametrize(
    ("statements", "fault"),
    [
        (["UPDATE audit SET by = 'eve' WHERE number = 2"], "entry 2 was changed"),
        (["UPDATE audit SET at = :old WHERE number = 4"], "entry 4 was changed"),
        (["UPDATE audit SET detail = '{\"a\": 1}' WHERE number = 1"], "entry 1 was changed"),
        (["UPDATE audit SET outcome = 'denied' WHERE number = 5"], "entry 5 was changed"),
        (["UPDATE audit SET previous = (SELECT anchor FROM chains) WHERE number = 3"], "entry 2 was changed"),
        (["DELETE FROM audit WHERE number = 3"], "entry 3 is missing"),
        (["DELETE FROM audit WHERE number = 1"], "entry 1 is missing"),
        (["DELETE FROM audit WHERE number >= 4"], "2 entries are missing at its end, from 4"),
        (["DELETE FROM audit"], "5 entries are missing"),
        (["DELETE FROM audit WHERE number = 3", "UPDATE audit SET number = number - 1 WHERE number > 3"], "entry 2"),
        (
            [f"UPDATE audit SET number = {new} WHERE number = {old}" for old, new in ((2, 9), (3, 2), (9, 3))],
            "entry 1 was changed, or an entry there added, removed or moved",
        ),
        (["UPDATE chains SET count = 3"], "the ledger knows another one as its last"),
        (["UPDATE chains SET removed = 2"], "entry 2 was changed|entry 3 is missing"),
    ],
)
def test_what_the_owner_of_the_database_changes_is_found(
    ledger: Ledger, ledger_url: str, statements: list[str], fault: str
) -> None:
    """Changed, missing, or moved; also at the end."""
    record(ledger, 5)
    tamper(ledger_url, *statements)
    with pytest.raises(BrokenChain, match=fault):
        ledger.audit.verify(Kind.ROLLOUT)


def test_of_many_at_once_each_gets_its_place(ledger_url: str) -> None:
    """No number twice, none left out, one chain; also for the first entry of all."""
    failed: list[Exception] = []

    def work() -> None:
        try:
            with closing(Ledger(ledger_url)) as own:
                record(own, 5)
        except StorageFailed as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with closing(Ledger(ledger_url)) as ledger:
        assert ledger.audit.verify(Kind.ROLLOUT).count == 30
        assert len({entry.previous for entry in ledger.audit.find(filters={}, limit=100)}) == 30


def test_retention_deletes_the_oldest_of_a_kind_and_the_chain_stays_whole(ledger: Ledger, ledger_url: str) -> None:
    """It says so in the trail; what was deleted is known by number and hash; other kinds keep theirs."""
    record(ledger, 2, Kind.KEY)
    record(ledger, 6, Kind.DENIED)
    assert ledger.audit.prune({Kind.DENIED: 1, Kind.KEY: 1}) == {}
    whole = {kind: ledger.audit.verify(kind) for kind in (Kind.DENIED, Kind.KEY)}
    assert ledger.audit.prune({Kind.DENIED: -1, Kind.KEY: 1}) == {Kind.DENIED: 6}  # as if two days had passed
    assert {kind: ledger.audit.verify(kind) for kind in whole} == whole
    record(ledger, 3, Kind.DENIED)
    assert ledger.audit.verify(Kind.DENIED).count == 9
    (said,) = ledger.audit.find(filters={"kind": "audit"})
    assert (said.action, said.by) == ("prune", "retention")
    assert (said.detail["kind"], said.detail["entries"], said.detail["digest"]) == (
        "denied",
        6,
        whole[Kind.DENIED].digest,
    )
    assert [entry.number for entry in ledger.audit.find(filters={"kind": "denied"})] == [9, 8, 7]
    tamper(ledger_url, "DELETE FROM audit WHERE kind = 'denied' AND number = 7")
    with pytest.raises(BrokenChain, match="entry 7 is missing"):
        ledger.audit.verify(Kind.DENIED)


def test_entries_are_found_by_every_field_in_pages_and_by_time(ledger: Ledger) -> None:
    """Pages hold each entry once, the newest first, whatever their kinds."""
    for number in range(10):
        kind = (Kind.KEY, Kind.JOB, Kind.ROLLOUT)[number % 3]
        ledger.audit.record(Entry(kind, "a", f"by{number % 2}", model=f"m{number % 5}", version=number))
    pages, before = [], None
    while page := ledger.audit.find(filters={}, before=before, limit=3):
        pages += page
        before = (page[-1].kind, page[-1].number)
    assert len({(entry.kind, entry.number) for entry in pages}) == len(pages) == 10
    assert [entry.at for entry in pages] == sorted((entry.at for entry in pages), reverse=True)
    assert {entry.version for entry in ledger.audit.find(filters={"by": "by1", "kind": "key"})} == {3, 9}
    moment = pages[4].at
    recent = ledger.audit.find(filters={}, since=moment, limit=100)
    earlier = ledger.audit.find(filters={}, until=moment, limit=100)
    assert {entry.version for entry in (*recent, *earlier)} == set(range(10))
    assert len(recent) + len(earlier) == 10


def test_an_empty_trail_is_whole(ledger: Ledger) -> None:
    """Nothing was recorded, nothing is missing."""
    assert {ledger.audit.verify(kind) for kind in Kind} == {Head(0, START)}
