"""The audit trail over HTTP: who did what, what was denied; without the trail nothing is changed, but rolled back."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.audit import Histories
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from modelyard.services.ledger import Ledger
from tests.slim.gateway.api.test_rollouts import publish_golden
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer
from tests.support.keyed import KEY_SECRET, bearer_header, key_for, prefix_of
from tests.support.ledgers import new_ledger_file

ROUTE = f"/api/models/{HALF_PLUS}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return new_ledger_file(tmp_path / "ledger.db")


@pytest.fixture
def keys(file: Path) -> Mapping[str, str]:
    """A name each; of one, for another model."""
    roles = {"ada": Role.ADMIN, "olga": Role.OPERATOR, "tom": Role.TRAINER, "vera": Role.VIEWER, "paul": Role.PREDICTOR}
    found = {name: key_for(file, role, name=name) for name, role in roles.items()}
    return found | {"digits": key_for(file, Role.OPERATOR, DIGITS, name="digits")}


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, file: Path) -> GatewaySettings:
    return GatewaySettings(
        store=filled.root, serving=(server.address,), ledger_url=f"sqlite:///{file}", key_secret=KEY_SECRET
    )


@pytest.fixture
def call(client: FlaskClient, keys: Mapping[str, str]) -> Callable[..., Any]:
    """A request of the key with this name."""

    def call(name: str, method: str, path: str, json: object = None, **options: Any) -> Any:
        headers = {**bearer_header(keys[name]), "X-Request-Id": f"of-{name}"}
        return client.open(path, method=method, json=json, headers=headers, **options)

    return call


@pytest.fixture
def entries(call: Callable[..., Any], app: Flask, filled: Store) -> Callable[..., list[dict[str, Any]]]:
    """Those that the API finds, the oldest first, once what waits was written."""

    def entries(**query: str) -> list[dict[str, Any]]:
        app.extensions["guard"].denials.write()
        Histories(filled, app.extensions["ledger"]).record_all()
        answer = call("ada", "GET", "/api/audit", query_string={"limit": "500", **query})
        assert answer.status_code == 200, answer.text
        return list(reversed(answer.json["entries"]))

    return entries


def test_a_promotion_is_in_the_trail_as_it_was_requested_and_as_it_was_done(
    call: Callable[..., Any],
    entries: Callable[..., Any],
    server: FakeModelServer,
    filled: Store,
    keys: Mapping[str, str],
) -> None:
    """With the key, its role and the request, and the reason; a refused one as it was requested."""
    version = publish_golden(server, filled)
    before = len(entries(kind="rollout"))
    assert call("olga", "POST", f"{ROUTE}:promote", {"version": version, "reason": "looked at it"}).status_code == 200
    assert call("olga", "POST", f"{ROUTE}:promote", {"version": 99}).status_code == 404
    requested, refused, done = entries(kind="rollout")[before:]
    assert (requested["action"], requested["outcome"], requested["by"]) == ("promote", "requested", "olga")
    assert (requested["prefix"], requested["role"]) == (prefix_of(keys["olga"]), "operator")
    assert (requested["request_id"], requested["detail"]) == ("of-olga", {"reason": "looked at it"})
    assert (refused["version"], refused["outcome"]) == (99, "requested")
    assert (done["action"], done["outcome"], done["by"], done["version"]) == ("promote", "done", "olga", version)


def test_a_change_of_roles_is_in_the_trail(
    call: Callable[..., Any], entries: Callable[..., Any], server: FakeModelServer, filled: Store
) -> None:
    """A canary that begins, and one that ends."""
    version = publish_golden(server, filled)
    before = len(entries(kind="rollout"))
    canary = {"canary": {"version": version, "percent": 5}, "reason": "try"}
    assert call("olga", "POST", f"{ROUTE}/rollout", canary).status_code == 200
    assert call("olga", "POST", f"{ROUTE}/rollout", {"canary": None, "reason": "enough"}).status_code == 200
    found = entries(kind="rollout")[before:]
    assert [(entry["action"], entry["outcome"]) for entry in found] == [
        ("change", "requested"),
        ("canary", "done"),
        ("end canary", "done"),
    ]
    assert found[0]["detail"] == canary | {"canary": {"version": version, "percent": 5.0}}


def test_keys_are_in_the_trail_without_their_secrets(call: Callable[..., Any], entries: Callable[..., Any]) -> None:
    """Who created and revoked which."""
    made = call("ada", "POST", "/api/keys", {"name": "shop", "role": "predictor"}).json
    call("ada", "DELETE", f"/api/keys/{made['prefix']}")
    created, revoked = entries(kind="key", subject=made["prefix"])
    assert (created["action"], created["by"], created["role"]) == ("create", "ada", "admin")
    assert (revoked["action"], revoked["detail"]) == ("revoke", {"name": "shop", "role": "predictor"})
    assert made["key"] not in str(entries())
    assert made["key"].rpartition("_")[2] not in str(entries())


def test_denied_attempts_are_in_the_trail(
    call: Callable[..., Any], client: FlaskClient, entries: Callable[..., Any], keys: Mapping[str, str]
) -> None:
    """Of the wrong role, for a hidden model, on another's job, and without a valid key."""
    call("vera", "POST", f"{ROUTE}:rollback")
    call("tom", "GET", "/api/keys")
    call("digits", "GET", f"{ROUTE}/rollout")
    call("tom", "POST", "/api/jobs/job-0123456789abcdef:cancel")
    client.get("/api/jobs", headers=bearer_header(keys["vera"][:-1] + "."))
    client.get("/api/jobs")
    found = [
        (entry["by"], entry["action"], entry["model"], entry["detail"]["reason"]) for entry in entries(kind="denied")
    ]
    assert sorted(found, key=str) == sorted(
        [
            ("vera", "rollouts.roll_back", HALF_PLUS, "403"),
            ("tom", "keys.list_keys", None, "403"),
            ("digits", "rollouts.get_rollout", HALF_PLUS, "404"),
            ("tom", "jobs.cancel_job", None, "404"),
            ("", "authenticate", None, "401 malformed"),
            ("", "authenticate", None, "401 none"),
        ],
        key=str,
    )
    assert {entry["outcome"] for entry in entries(kind="denied")} == {"denied"}
    (rollback,) = entries(kind="denied", by="vera")
    assert (rollback["prefix"], rollback["request_id"]) == (prefix_of(keys["vera"]), "of-vera")


def test_a_flood_of_denied_attempts_is_few_entries(
    call: Callable[..., Any], client: FlaskClient, entries: Callable[..., Any]
) -> None:
    """Equal ones are one with their number; of very many different ones, the rest is one."""
    for number in range(150):
        call("digits", "GET", f"/api/models/made_up_{number}/rollout")
        client.get("/api/jobs")
    found = entries(kind="denied")
    assert len(found) == 51
    assert sum(entry["detail"]["count"] for entry in found) == 300
    assert {entry["action"]: entry["detail"]["count"] for entry in found}["authenticate"] == 150


def test_what_was_permitted_is_not_denied(call: Callable[..., Any], entries: Callable[..., Any]) -> None:
    """Nor what is not found by those who may see everything."""
    call("vera", "GET", f"{ROUTE}/rollout")
    call("vera", "GET", "/api/models/nothing/rollout")
    call("paul", "GET", "/healthz")
    assert entries(kind="denied") == []


def test_only_admins_read_the_trail(call: Callable[..., Any]) -> None:
    """It has what all others did."""
    statuses = {name: call(name, "GET", "/api/audit").status_code for name in ("ada", "olga", "tom", "vera", "paul")}
    assert statuses == {"ada": 200, "olga": 403, "tom": 403, "vera": 403, "paul": 403}


def test_pages_follow_each_other(call: Callable[..., Any]) -> None:
    """Until there is none; the six keys of the test are the first entries."""
    seen: list[str] = []
    query = {"limit": "4"}
    while True:
        page = call("ada", "GET", "/api/audit", query_string=query).json
        seen += [entry["id"] for entry in page["entries"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert seen == [f"key-{number}" for number in range(6, 0, -1)]


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"kind": "jobs"},
        "kind: received 'jobs', allowed: job, search, trigger, rollout, version, key, denied, audit",
    ),
    ({"outcome": "failed"}, "outcome: received 'failed', allowed: done, requested, denied"),
    ({"who": "ann"}, "unknown parameter 'who'; there are kind, outcome, by"),
    ({"limit": "0"}, "limit: received '0', allowed: 1 to 500"),
    ({"limit": "501"}, "limit: received '501', allowed: 1 to 500"),
    ({"version": "x"}, "version: received 'x', allowed: 1 to"),
    ({"since": "yesterday"}, "since: expected a time such as 2026-11-29T12:00:00Z, received 'yesterday'"),
    ({"before": "key"}, "before: expected the id of an entry, such as job-12, received 'key'"),
    ({"model": "a\x00b"}, "model: received 'a\\x00b', expected 1 to 256 printable characters"),
    ({"by": ["a", "b"]}, "by: expected once, received 2 times"),
]


def test_a_wrong_filter_is_refused_with_what_it_may_be(call: Callable[..., Any]) -> None:
    """400; an entry that there is not is 404."""
    for query, text in WRONG:
        answer = call("ada", "GET", "/api/audit", query_string=query)
        assert (answer.status_code, answer.json["error"][: len(text)]) == (400, text)
    missing = call("ada", "GET", "/api/audit", query_string={"before": "job-7"})
    assert (missing.status_code, missing.json["error"]) == (404, "unknown entry job-7")


@pytest.fixture
def away(call: Callable[..., Any], app: Flask, file: Path) -> None:
    """The ledger, once the keys were read; a folder is in its file's place."""
    assert call("ada", "GET", "/version").status_code == 200
    app.extensions["guard"].key_cache.close()
    app.extensions["ledger"].close()
    for part in file.parent.glob("ledger.db*"):
        part.unlink()
    file.mkdir()


@pytest.mark.usefixtures("away")
def test_without_the_trail_nothing_is_promoted(
    call: Callable[..., Any], server: FakeModelServer, filled: Store
) -> None:
    """503 with Retry-After, and the rollout is as before; so for a canary, a label, a key."""
    version, before = publish_golden(server, filled), read_rollout(filled, HALF_PLUS)
    for path, body in (
        (f"{ROUTE}:promote", {"version": version}),
        (f"{ROUTE}/rollout", {"canary": {"version": version}}),
        (f"{ROUTE}/rollout", {"labels": {"best": version}}),
        ("/api/keys", {"name": "new", "role": "viewer"}),
    ):
        answer = call("ada", "POST", path, body)
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True), (path, answer.text)
    assert read_rollout(filled, HALF_PLUS) == before


@pytest.mark.usefixtures("away")
def test_a_rollback_needs_no_trail_and_is_in_it_later(
    call: Callable[..., Any], filled: Store, file: Path, tmp_path: Path
) -> None:
    """Its own history has it at once, in the chain; so has what only ends a role."""
    assert call("olga", "POST", f"{ROUTE}:rollback", {"reason": "at night"}).status_code == 200
    shutil.rmtree(file)
    ledger = Ledger(f"sqlite:///{tmp_path}/new.db")
    Histories(filled, ledger).record_all()
    (entry,) = ledger.audit.find(filters={"action": "rollback"})
    assert (entry.by, entry.request_id, entry.detail["reason"]) == ("olga", "of-olga", "at night")
    ledger.close()
