"""Retention: what has a role stays, the newest stay, and a decision record outlives its version."""

from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from typer.testing import CliRunner

from modelyard.models.errors import UnknownName
from modelyard.models.registry import retention
from modelyard.models.registry.retention import find_removable, remove_version
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.roles.shadow import Shadow
from modelyard.models.registry.rollout import InvalidChange, change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.cli.main import app
from tests.support.fakes import HALF_PLUS, publish

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def full(filled: Store) -> Store:
    """Ten versions: 7 is stable, 4 the one for a rollback, 2 a canary, 5 a shadow, 3 labelled."""
    for _ in range(8):
        publish(filled, HALF_PLUS, stable=False)
    changes = (
        lambda now: now.promote(4, by="t", reason="r"),
        lambda now: now.promote(7, by="t", reason="r"),
        lambda now: now.start_canary(Canary(version=2, percent=1, since=NOW), by="t", reason="r"),
        lambda now: now.start_shadow(Shadow(version=5, since=NOW), by="t", reason="r"),
        lambda now: now.label("blue", 3, by="t", reason="r"),
    )
    for change in changes:
        change_rollout(filled, HALF_PLUS, change)
    return filled


def removable(store: Store, keep: int) -> list[int]:
    return [each.version for each in find_removable(store, HALF_PLUS, keep)]


def test_what_has_a_role_and_the_newest_stay(full: Store) -> None:
    """One at least: its number must not be given again."""
    assert removable(full, keep=3) == [1, 6]
    assert removable(full, keep=1) == removable(full, keep=0) == [1, 6, 8, 9]
    assert removable(full, keep=100) == []


def test_a_removed_version_is_gone_and_its_record_is_not(full: Store, client: FlaskClient) -> None:
    """The record says that it was removed, by whom and why; numbers go on."""
    remove_version(full, HALF_PLUS, 6, by="gc", reason="old")
    assert full.versions(HALF_PLUS) == (1, 2, 3, 4, 5, 7, 8, 9, 10)
    record = client.get(f"/api/models/{HALF_PLUS}/versions/6").json
    assert (record["version"], record["removed"], record["data"]["name"]) == (6, True, "numbers")
    assert [(change["action"], change["by"], change["reason"]) for change in record["changes"]] == [
        ("remove", "gc", "old")
    ]
    assert publish(full, HALF_PLUS, stable=False) == 11
    with pytest.raises(UnknownName):
        remove_version(full, HALF_PLUS, 6, by="gc", reason="again")


@pytest.mark.parametrize("version", [2, 3, 4, 5, 7, 10])
def test_a_version_with_a_role_and_the_newest_cannot_be_removed(full: Store, version: int) -> None:
    """Whatever was seen before."""
    with pytest.raises(InvalidChange):
        remove_version(full, HALF_PLUS, version, by="gc", reason="r")
    assert version in full.versions(HALF_PLUS)


def test_the_command_prints_what_it_would_delete_and_deletes_it(full: Store) -> None:
    """A dry run changes nothing; what a removal left that was cut short goes, too."""
    home = ["--home", str(full.root.parent), "--keep", "3"]
    (full.folder(HALF_PLUS) / f"{retention.TRASH}99").mkdir()
    dry = CliRunner().invoke(app, ["gc", "--dry-run", *home])
    assert dry.exit_code == 0, dry.output
    assert len(full.versions(HALF_PLUS)) == 10
    assert CliRunner().invoke(app, ["gc", *home]).exit_code == 0
    assert full.versions(HALF_PLUS) == (2, 3, 4, 5, 7, 8, 9, 10)
    assert not list(full.folder(HALF_PLUS).glob(f"{retention.TRASH}*"))
    assert removable(full, keep=3) == []
