"""Histories of rollouts in the audit trail, and the verification of both."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.history import read_lines
from modelyard.models.registry.rollout import HISTORY_FILE, change_rollout, read_history
from modelyard.models.registry.store import Store
from modelyard.services.audit import Histories, accept_history, verify
from modelyard.services.ledger import Entry, Kind, Ledger
from modelyard.services.scheduler.settings import AUDIT_DAYS, SchedulerSettings
from modelyard.services.settings import InvalidSettings
from tests.support.slim_programs import modelyard

MODEL = "neuron"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With two promotions and a rollback."""
    store = Store(tmp_path / "store")
    store.prepare()
    for number in (1, 2):
        change_rollout(store, MODEL, lambda now, number=number: now.promote(number, by="ann", reason="r"))
    detail = {"request_id": "request-1"}
    change_rollout(store, MODEL, lambda now: now.rollback(by="bob", reason="worse", detail=detail))
    return store


@pytest.fixture
def histories(store: Store, ledger: Ledger) -> Histories:
    return Histories(store, ledger)


@pytest.fixture
def path(store: Store) -> Path:
    return store.folder(MODEL) / HISTORY_FILE


def rollouts(ledger: Ledger) -> list[tuple[Any, ...]]:
    found = ledger.audit.find(filters={"kind": "rollout"}, limit=100)
    return [(entry.action, entry.model, entry.version, entry.by) for entry in reversed(found)]


def faults(store: Store, ledger: Ledger) -> dict[str, str]:
    return {each.name: each.fault for each in verify(store, ledger) if each.fault}


def test_each_change_of_a_rollout_gets_into_the_trail_once(store: Store, ledger: Ledger, histories: Histories) -> None:
    """However often, and by however many schedulers, it is looked at; with reason and request."""
    histories.record_all()
    expected = [("promote", MODEL, 1, "ann"), ("promote", MODEL, 2, "ann"), ("rollback", MODEL, 1, "bob")]
    assert rollouts(ledger) == expected
    (newest,) = ledger.audit.find(filters={"action": "rollback"})
    assert (newest.request_id, newest.detail["reason"], newest.detail["from"]) == ("request-1", "worse", 2)
    Histories(store, ledger).record_all()
    histories.record_all()
    assert rollouts(ledger) == expected
    change_rollout(store, MODEL, lambda now: now.promote(3, by="eve", reason="r"))
    histories.record_all()
    assert rollouts(ledger) == [*expected, ("promote", MODEL, 3, "eve")]
    assert faults(store, ledger) == {}
    assert ledger.audit.read_history_head(MODEL).count == 4


def test_a_missing_end_is_found_as_the_ledger_knows_how_far_it_went(
    store: Store, ledger: Ledger, histories: Histories, path: Path
) -> None:
    """Also where all of the model's folder is gone; it is not recorded as if nothing had been."""
    histories.record_all()
    lines = read_lines(path)
    path.write_bytes(lines[0] + b"\n")
    assert faults(store, ledger) == {f"history {MODEL}": "2 of 3 lines are missing at its end"}
    histories.record_all()  # the rollout itself still has them
    assert (faults(store, ledger), read_lines(path)) == ({}, lines)
    shutil.rmtree(store.folder(MODEL))
    assert faults(store, ledger) == {f"history {MODEL}": "3 of 3 lines are missing at its end"}


def test_a_changed_line_is_found_and_stops_the_recording_until_it_is_accepted(
    store: Store, ledger: Ledger, histories: Histories, path: Path
) -> None:
    """Said once in the log. Who accepts it stands in the trail, with what was known before; then it goes on."""
    histories.record_all()
    path.write_bytes(path.read_bytes().replace(b"worse", b"wurst"))
    change_rollout(store, MODEL, lambda now: now.promote(2, by="eve", reason="r"))
    with capture_logs() as logged:
        histories.record_all()
        histories.record_all()
    assert [line["hint"] for line in logged] == ["modelyard verify"]
    (fault,) = faults(store, ledger).values()
    assert fault.startswith("line 3 is not the one that the ledger knows")
    known = ledger.audit.read_history_head(MODEL)
    accept_history(store, ledger, MODEL, "cli on host", "restored")
    assert faults(store, ledger) == {}
    (said,) = ledger.audit.find(filters={"kind": "audit"})
    assert (said.action, said.by, said.model, said.detail["reason"]) == (
        "accept history",
        "cli on host",
        MODEL,
        "restored",
    )
    assert said.detail["before"] == vars(known)
    change_rollout(store, MODEL, lambda now: now.promote(3, by="ann", reason="r"))
    histories.record_all()
    assert rollouts(ledger)[-1] == ("promote", MODEL, 3, "ann")


def test_one_broken_history_does_not_stop_the_others(
    store: Store, ledger: Ledger, histories: Histories, path: Path
) -> None:
    """And a broken chain inside a file is written anew when it is accepted; what was found stays."""
    path.write_bytes(b"\n".join([*read_lines(path)[1:], b""]))
    change_rollout(store, "other", lambda now: now.promote(1, by="ann", reason="r"))
    histories.record_all()
    assert rollouts(ledger) == [("promote", "other", 1, "ann")]
    assert list(faults(store, ledger)) == [f"history {MODEL}"]
    accept_history(store, ledger, MODEL, "cli", "known")
    histories.record_all()
    assert faults(store, ledger) == {}
    assert [change.version for change in read_history(store, MODEL)] == [2, 1]
    assert len(list(path.parent.glob("history-*.broken"))) == 1


def test_the_command_lists_every_chain_and_fails_where_one_is_broken(store: Store, tmp_path: Path) -> None:
    """Exit status 1, the place of the fault; 0 once it is accepted."""
    ledger_url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger(ledger_url)
    ledger.audit.record(Entry(Kind.KEY, "create", "ann"))
    Histories(store, ledger).record_all()
    ledger.close()

    def run(*arguments: str) -> tuple[int, str]:
        done = modelyard("verify", *arguments, ledger_url=ledger_url, store=store.root)
        return done.returncode, done.stdout + done.stderr

    path = store.folder(MODEL) / HISTORY_FILE
    lines = read_lines(path)
    path.write_bytes(b"\n".join([lines[1], lines[0], lines[2], b""]))
    status, printed = run()
    assert status == 1
    assert "audit key" in printed
    assert "whole" in printed
    assert "line 1 was changed, or a line there was added, removed or moved" in printed
    assert run("--accept", MODEL, "--reason", "known")[0] == 0


def test_without_the_ledger_nothing_is_verified(store: Store, tmp_path: Path) -> None:
    """An error, not a whole trail."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed):
        list(verify(store, Ledger(f"sqlite:///{tmp_path}/file/ledger.db")))


def test_how_long_entries_are_kept_is_a_setting_by_kind() -> None:
    """What is not named keeps its default; what cannot be meant is refused."""
    settings = SchedulerSettings.load(audit_days="denied=7, job=30")
    assert settings.audit_days == {**AUDIT_DAYS, Kind.DENIED: 7.0, Kind.JOB: 30.0}
    assert set(SchedulerSettings.load().audit_days) == set(Kind)
    for wrong in ("jobs=1", "job=0", "job", "job=-1", "job=1.5"):
        with pytest.raises(InvalidSettings, match="MODELYARD_AUDIT_DAYS: expected KIND=DAYS"):
            SchedulerSettings.load(audit_days=wrong)
