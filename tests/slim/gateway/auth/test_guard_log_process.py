"""What a real gateway with keys writes: no key, anywhere; and what it does while its ledger is away."""

import json
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from modelyard.services.keys import Role
from modelyard.services.ledger import Ledger
from tests.slim.gateway.server.test_rsgi import BODY, GOOD
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import HALF_PLUS
from tests.support.guarded import VIA_VIEW, gateway_settings, own_ledger
from tests.support.keyed import bearer_header, key_for, prefix_of
from tests.support.slim_programs import GatewayProcess, gateway
from tests.support.waiting import wait_until

PLANTED = "myd_0123456789ab_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"
"""Has the form of a key; its secret begins after the prefix."""

__all__ = ["gateway_settings", "own_ledger"]


@pytest.fixture
def running(gateway_settings: Mapping[str, Any]) -> Iterator[tuple[GatewayProcess, httpx.Client]]:
    with gateway(**gateway_settings) as found:
        yield found


# --- the ledger is away -----------------------------------------------------------------------------------------------


def test_known_keys_go_on_while_the_ledger_is_away(
    running: tuple[GatewayProcess, httpx.Client], own_ledger: Path
) -> None:
    """Predictions do not notice; the log says so once; what was revoked meanwhile is refused when it is back."""
    process, client = running
    assert process.stderr
    one, other = (key_for(own_ledger, Role.PREDICTOR, name=name) for name in ("one", "other"))
    wait_until(lambda: client.post(PREDICT, content=BODY, headers=bearer_header(other)).status_code == 200)
    change(own_ledger, "ALTER TABLE keys RENAME TO away")
    while "API keys not read; cached ones are used" not in process.stderr.readline():
        pass
    for key in (one, other):
        assert client.post(PREDICT, content=BODY, headers=bearer_header(key)).json() == GOOD
    change(own_ledger, f"UPDATE away SET revoked_at = created_at WHERE prefix = '{prefix_of(other)}'")
    change(own_ledger, "ALTER TABLE away RENAME TO keys")
    wait_until(lambda: client.post(PREDICT, content=BODY, headers=bearer_header(other)).status_code == 401)
    assert client.post(PREDICT, content=BODY, headers=bearer_header(one)).json() == GOOD
    said_again = [line for line in stop_and_read(process) if "API keys not read" in line]
    assert said_again == []


def change(ledger: Path, statement: str) -> None:
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute(statement)


def stop_and_read(process: GatewayProcess) -> list[str]:
    """Stops a gateway; the lines that it wrote and nobody has read."""
    assert process.stderr
    process.send_signal(signal.SIGTERM)
    lines = process.stderr.readlines()
    assert process.wait(60) == 0
    return lines


# --- what is written --------------------------------------------------------------------------------------------------


def test_no_key_is_in_logs_metrics_or_errors_wherever_it_was_put(
    gateway_settings: dict[str, Any], own_ledger: Path
) -> None:
    """Path, query, headers, body, name of a model; one that opens the guard, too."""
    with gateway(**gateway_settings, forked=False) as (process, client):
        find_no_key(process, client, own_ledger)


def find_no_key(process: GatewayProcess, client: httpx.Client, own_ledger: Path) -> None:
    key = key_for(own_ledger, Role.ADMIN)
    wait_until(lambda: client.get("/version", headers=bearer_header(key)).status_code == 200)
    answers = []
    for planted in (PLANTED, PLANTED.upper(), key):
        for headers in ({}, bearer_header(PLANTED), bearer_header(key), bearer_header(key) | VIA_VIEW):
            answers += send_key_everywhere(client, planted, headers)
    answers.append(client.get("/metrics", headers=bearer_header(key)))
    arguments = psutil.Process(process.pid).cmdline()
    lines = stop_and_read(process)
    for planted in (PLANTED, PLANTED.upper(), key):
        secret = planted.split("_", 2)[2][:8]
        assert [line for line in lines if secret in line] == []
        assert [answer.text for answer in answers if secret in answer.text] == []
        assert [answer.headers for answer in answers if secret in str(answer.headers)] == []
        assert secret not in str(arguments)
    assert any(f"myd_{prefix_of(PLANTED)}_***" in line for line in lines)


def send_key_everywhere(client: httpx.Client, planted: str, headers: Mapping[str, str]) -> list[httpx.Response]:
    """Every response to a key in a place where none belongs."""
    paths = (f"/{planted}", f"/v1/models/{planted}", f"/api/models/{planted}", f"/api/jobs/{planted}", f"/v1/{planted}")
    named = dict.fromkeys(("X-Request-Id", "X-Rollout-Key", "Idempotency-Key", "X-Timeout-Ms"), planted)
    return [
        *(client.get(path, headers=headers) for path in paths),
        *(client.get(path, headers=headers, params={"key": planted}) for path in ("/version", "/api/jobs")),
        *(client.post("/api/jobs", json={"model": HALF_PLUS}, headers={**headers, n: v}) for n, v in named.items()),
        *(client.post(PREDICT, content=BODY, headers={**headers, n: v}) for n, v in named.items()),
        client.post(f"/v1/models/{planted}:predict", content=BODY, headers=headers),
        client.post(f"/v2/models/{planted}/infer", content=BODY, headers=headers),
        client.post(PREDICT, json={"instances": [planted]}, headers=headers),
        client.post(PREDICT, json={"signature_name": planted, "instances": [[1.0]]}, headers=headers),
        client.post(PREDICT, content=planted.encode(), headers=headers),
        client.post("/api/jobs", json={"model": planted}, headers=headers),
        client.post("/api/keys", json={"name": planted, "role": "viewer"}, headers=headers),
        client.delete(f"/api/keys/{planted}", headers=headers),
        client.post(f"/api/models/{planted}:rollback", json={"reason": planted}, headers=headers),
        client.post(f"/api/models/{HALF_PLUS}:rollback", json={"reason": planted}, headers=headers),
        client.request(planted, "/version", headers=headers),
    ]


def test_the_log_says_who_did_what_and_who_might_not(
    running: tuple[GatewayProcess, httpx.Client], own_ledger: Path
) -> None:
    """The key's name in every request's line; one more for each change and each that was not allowed."""
    process, client = running
    viewer, admin = key_for(own_ledger, Role.VIEWER, name="vera"), key_for(own_ledger, Role.ADMIN, name="ada")
    wait_until(lambda: client.get("/version", headers=bearer_header(admin)).status_code == 200)
    rollback = f"/api/models/{HALF_PLUS}:rollback"
    for key in (viewer, admin):
        client.post(rollback, headers={**bearer_header(key), "X-Request-Id": f"as-{prefix_of(key)}"})
    client.post(PREDICT, content=BODY, headers=bearer_header(admin))
    made = client.post("/api/keys", json={"name": "new", "role": "viewer"}, headers=bearer_header(admin)).json()
    client.delete(f"/api/keys/{made['prefix']}", headers=bearer_header(admin))
    client.get("/version")
    lines = [json.loads(line) for line in stop_and_read(process)]
    audited = [
        (line["key"], line["action"], line["status"], line["request_id"]) for line in lines_of_event(lines, "audit")
    ]
    assert audited[0] == ("vera", "rollouts.roll_back", 403, f"as-{prefix_of(viewer)}")
    assert audited[1][:2] == ("ada", "rollouts.roll_back")
    assert {line["prefix"] for line in lines_of_event(lines, "audit")} == {prefix_of(viewer), prefix_of(admin)}
    assert [line["created"]["name"] for line in lines_of_event(lines, "key created")] == ["new"]
    assert [line["revoked"]["prefix"] for line in lines_of_event(lines, "key revoked")] == [made["prefix"]]
    by_route = {line["route"]: line.get("key") for line in lines_of_event(lines, "request") if line["status"] != 403}
    assert by_route["/v1/models/<model:model>:predict"] == "ada"
    assert [line["reason"] for line in lines_of_event(lines, "authentication failed")].count("none") == 1
    with closing(Ledger(f"sqlite:///{own_ledger}")) as ledger:  # what it had not written yet, it wrote when it stopped
        denied = [(entry.by, entry.action) for entry in ledger.audit.find(filters={"kind": "denied"})]
    assert {("vera", "rollouts.roll_back"), ("", "authenticate")} <= set(denied)


def lines_of_event(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


def test_failures_are_logged_once_a_second_for_each_reason(
    running: tuple[GatewayProcess, httpx.Client],
) -> None:
    """Whoever knocks all day fills no disk."""
    process, client = running
    started = time.monotonic()
    wait_until(lambda: client.post(PREDICT, content=BODY, headers=bearer_header(PLANTED)).status_code == 401)
    for _ in range(200):
        assert client.post(PREDICT, content=BODY, headers=bearer_header(PLANTED)).status_code == 401
    seconds = time.monotonic() - started
    lines = [line for line in stop_and_read(process) if "authentication failed" in line]
    assert 1 <= len(lines) <= 1 + seconds
