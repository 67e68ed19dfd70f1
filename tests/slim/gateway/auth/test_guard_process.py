"""The guard of a real gateway: before the body is read, on both paths, while keys end and the ledger is down."""

import json
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from modelyard.models.registry.store import Store
from modelyard.services.keys import Role
from modelyard.services.ledger import JobRequest, Ledger
from tests.slim.gateway.server.test_rsgi import BODY, GOOD, connected, head, receive_response, statuses
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer
from tests.support.keyed import KEY_SECRET, bearer_header, key_for, prefix_of, revoke, until_ended
from tests.support.ledgers import new_ledger_file
from tests.support.ports import held_port
from tests.support.slim_programs import GatewayProcess, gateway, modelyard, refusal
from tests.support.waiting import wait_until

REFUSED = {"error": "expected a valid API key: Authorization: Bearer KEY"}
PLANTED = "myd_0123456789ab_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"
"""Has the form of a key; its secret begins after the prefix."""
VIA_VIEW = {"Origin": "http://elsewhere", "Sec-Fetch-Site": "same-origin"}


def settings_with_keys(store: Store, server: FakeModelServer, ledger: Path) -> dict[str, Any]:
    return {
        "store": store.root,
        "serving": server.address,
        "ledger_url": f"sqlite:///{ledger}",
        "broker_url": "redis://127.0.0.1:1/0",
        "key_secret": KEY_SECRET,
    }


@pytest.fixture(scope="module")
def shared_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_ledger_file(tmp_path_factory.mktemp("ledger") / "ledger.db")


@pytest.fixture(scope="module")
def client(shared_store: Store, shared_server: FakeModelServer, shared_ledger: Path) -> Iterator[httpx.Client]:
    """Of a gateway for all tests that neither stop it nor read its log nor take its ledger away."""
    with gateway(**settings_with_keys(shared_store, shared_server, shared_ledger)) as (_, found):
        yield found


@pytest.fixture
def ledger(shared_ledger: Path) -> Iterator[Path]:
    """That gateway's; a test's keys end with it."""
    yield shared_ledger
    with closing(Ledger(f"sqlite:///{shared_ledger}")) as found:
        for key in found.keys.list_keys(ended_within_s=0):
            found.keys.revoke(key.prefix, "test")


@pytest.fixture
def own_ledger(tmp_path: Path) -> Path:
    return new_ledger_file(tmp_path / "ledger.db")


@pytest.fixture
def gateway_settings(filled: Store, server: FakeModelServer, own_ledger: Path) -> dict[str, Any]:
    """Settings of a gateway with keys, of one test."""
    return settings_with_keys(filled, server, own_ledger)


@pytest.fixture
def running(gateway_settings: Mapping[str, Any]) -> Iterator[tuple[GatewayProcess, httpx.Client]]:
    with gateway(**gateway_settings) as found:
        yield found


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_an_address_that_others_reach_takes_a_secret(gateway_settings: dict[str, Any], own_ledger: Path) -> None:
    """Without one the gateway does not start, and says in one line what to do; with one it requires keys there."""
    with held_port() as port:
        refused = refusal(host="0.0.0.0", port=port)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("MODELYARD_HOST: ")
    assert "MODELYARD_KEY_SECRET" in refused.stderr
    key = key_for(own_ledger, Role.PREDICTOR)
    with gateway(**gateway_settings, host="0.0.0.0") as (_, client):
        assert client.post(PREDICT, content=BODY).status_code == 401
        wait_until(lambda: client.post(PREDICT, content=BODY, headers=bearer_header(key)).status_code == 200)
        assert client.post(PREDICT, content=BODY, headers=bearer_header(key)).json() == GOOD


@pytest.mark.parametrize(("secret", "text"), [("", "is empty"), ("x" * 31, "expected at least 32 characters")])
def test_a_secret_that_is_none_is_refused(gateway_settings: dict[str, Any], secret: str, text: str) -> None:
    """In one line that does not hold it."""
    refused = refusal(**gateway_settings | {"key_secret": secret})
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("MODELYARD_KEY_SECRET: ")
    assert text in refused.stderr
    assert "xxx" not in refused.stderr


def test_what_is_no_good_key_is_refused_alike_wherever_it_is(client: httpx.Client, ledger: Path) -> None:
    """By the RSGI app as by the views: no key, two headers, a key in the query, bytes that are none."""
    key = key_for(ledger, Role.ADMIN)
    wait_until(lambda: client.get("/version", headers=bearer_header(key)).status_code == 200)
    good = f"Authorization: Bearer {key}"
    bad = [[], [good, good], ["Authorization: Bearer \xff"], [good + "x"], [f"Cookie: key={key}"]]
    for lines in bad:
        answer = exchange(client, head(*lines) + BODY)
        assert statuses(answer) == [401]
        assert answer.lower().count(b"\r\nwww-authenticate: bearer\r\n") == 1
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == REFUSED
    for path in (f"{PREDICT}?key={key}", f"/api/models?access_token={key}", f"/?Authorization=Bearer%20{key}"):
        answer = client.request("POST" if "predict" in path else "GET", path)
        assert (answer.status_code, answer.json()) == (401, REFUSED)
    assert client.post(PREDICT, content=BODY, headers=bearer_header(key)).json() == GOOD


def exchange(client: httpx.Client, raw: bytes) -> bytes:
    """The first response to these bytes, however little of a body they hold."""
    with connected(client) as connection:
        connection.sendall(raw)
        return receive_response(connection)


@pytest.mark.parametrize("kind", ["application/json", "application/jsonl", "multipart/form-data; boundary=x"])
def test_nothing_of_a_body_is_read_for_who_has_no_key(
    client: httpx.Client, shared_server: FakeModelServer, kind: str
) -> None:
    """The answer is there before the body is: whatever its form, and wherever it goes."""
    before = len(shared_server.calls)
    for length in (100, 10_000_000):
        assert statuses(exchange(client, head(f"Content-Type: {kind}", length=length))) == [401]
    chunked = head(f"Content-Type: {kind}", "Transfer-Encoding: chunked", length=None)
    assert statuses(exchange(client, chunked)) == [401]
    assert statuses(exchange(client, head(length=10_000).replace(PREDICT.encode(), b"/api/jobs"))) == [401]
    assert shared_server.calls[before:] == []


def test_a_refused_request_with_a_large_body_gets_its_response(client: httpx.Client) -> None:
    """Every time, over one connection: closed on what is still coming, the answer would be lost with it."""
    large = b" " * 4_000_000
    with connected(client) as connection:
        for _ in range(5):
            connection.sendall(head(length=len(large)) + large)
            assert statuses(receive_response(connection)) == [401]


def test_a_probe_with_a_body_gets_a_response_before_the_body(client: httpx.Client) -> None:
    """No client makes the gateway read what it does not need."""
    asked = head(length=1_000_000).replace(f"POST {PREDICT}".encode(), b"GET /healthz")
    assert statuses(exchange(client, asked)) == [200]


@pytest.mark.parametrize("path_headers", [{}, VIA_VIEW])
def test_fast_path_and_views_check_role_and_model(
    client: httpx.Client, ledger: Path, path_headers: dict[str, str]
) -> None:
    """A viewer may not predict; a key for one model finds no other."""
    viewer, narrow = key_for(ledger, Role.VIEWER), key_for(ledger, Role.PREDICTOR, HALF_PLUS)
    wait_until(lambda: client.get("/version", headers=bearer_header(narrow)).status_code == 200)
    foreign, nowhere = f"/v1/models/{DIGITS}:predict", "/v1/models/nowhere:predict"
    for path, key, status in (
        (PREDICT, viewer, 403),
        (PREDICT, narrow, 200),
        (foreign, narrow, 404),
        (nowhere, narrow, 404),
        (f"/v2/models/{DIGITS}/infer", narrow, 404),
        (f"/v2/models/{HALF_PLUS}/infer", viewer, 403),
    ):
        answer = client.post(path, content=BODY, headers={**bearer_header(key), **path_headers})
        assert (path, answer.status_code) == (path, status)
    hidden, unknown = (
        client.post(path, content=BODY, headers={**bearer_header(narrow), **path_headers})
        for path in (foreign, nowhere)
    )
    assert hidden.text.replace(DIGITS, "nowhere") == unknown.text


# --- keys that end ----------------------------------------------------------------------------------------------------


def test_a_revoked_key_opens_nothing_five_seconds_later(client: httpx.Client, ledger: Path) -> None:
    """On a connection that is open, on the fast path; another key of the same name stays valid."""
    viewer, old, new = (key_for(ledger, role) for role in (Role.VIEWER, Role.PREDICTOR, Role.PREDICTOR))
    wait_until(lambda: client.post(PREDICT, content=BODY, headers=bearer_header(new)).status_code == 200)
    revoke(ledger, old)
    until_ended(
        lambda: client.post(PREDICT, content=BODY, headers=bearer_header(old)).status_code == 401,
        lambda: age_s(client, viewer),
    )
    assert client.post(PREDICT, content=BODY, headers=bearer_header(new)).json() == GOOD


def age_s(client: httpx.Client, viewer: str) -> float:
    """Since a gateway last polled for keys."""
    shown_by = client.get("/metrics", headers=bearer_header(viewer)).text
    found = re.search(r"^modelyard_gateway_keys_age_seconds (\S+)$", shown_by, re.MULTILINE)
    assert found
    return float(found[1])


def test_a_stream_of_events_ends_with_its_key(client: httpx.Client, ledger: Path) -> None:
    """Though its job goes on."""
    with closing(Ledger(f"sqlite:///{ledger}")) as found:
        job = found.jobs.add(JobRequest(model=HALF_PLUS), by="ann")
    key, other = key_for(ledger, Role.VIEWER), key_for(ledger, Role.VIEWER)
    wait_until(lambda: client.get("/version", headers=bearer_header(other)).status_code == 200)
    gateway_settings: list[str] = []
    with client.stream("GET", f"/api/jobs/{job.id}/events", headers=bearer_header(key)) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        reader = threading.Thread(target=lambda: gateway_settings.extend(lines))
        reader.start()
        revoke(ledger, key)
        until_ended(lambda: not reader.is_alive(), lambda: age_s(client, other), polls=3)
    assert [line for line in gateway_settings if line.startswith("event:")] == ["event: state"]


def test_a_stream_of_lines_ends_with_its_key(client: httpx.Client, ledger: Path) -> None:
    """What came before gets its results, then an error says that the key has ended, and the response breaks off."""
    key = key_for(ledger, Role.PREDICTOR)
    wait_until(lambda: client.get("/version", headers=bearer_header(key)).status_code == 200)

    def lines() -> Iterator[bytes]:
        yield b"[1.0]\n"
        revoke(ledger, key)
        wait_until(lambda: client.get("/version", headers=bearer_header(key)).status_code == 401)
        yield b"[2.0]\n"

    headers = {**bearer_header(key), "Content-Type": "application/jsonl"}
    answered: list[str] = []
    with (
        pytest.raises(httpx.RemoteProtocolError),
        client.stream("POST", PREDICT, content=lines(), headers=headers) as response,
    ):
        answered.extend(response.iter_lines())
    assert answered[0] == "[2.5]"
    assert (
        json.loads(answered[-1])["error"]
        == "the API key has expired or was revoked; the lines before it have their responses"
    )


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


def test_the_command_line_shows_its_key(client: httpx.Client, ledger: Path, tmp_path: Path) -> None:
    """From a variable or a file; without one, or with one that may not, it prints one line."""
    viewer, url = key_for(ledger, Role.VIEWER), str(client.base_url)
    wait_until(lambda: client.get("/version", headers=bearer_header(viewer)).status_code == 200)
    (tmp_path / "modelyard_key").write_text(f"{viewer}\n")
    for settings in ({"key": viewer}, {"secrets_dir": str(tmp_path)}):
        assert HALF_PLUS in modelyard("models", "--url", url, **settings).stdout
    refused = modelyard("models", "--url", url)
    assert (refused.returncode, refused.stderr.count("\n")) == (5, 1)
    assert "put one into MODELYARD_API_KEY" in refused.stderr
    forbidden = modelyard("rollback", HALF_PLUS, "--reason", "r", "--url", url, key=viewer)
    assert (forbidden.returncode, "role operator or admin" in forbidden.stderr) == (5, True)


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


def test_no_response_names_a_version_of_the_server(client: httpx.Client, ledger: Path) -> None:
    """And the headers of the RSGI app are as strict as those of the views."""
    key = key_for(ledger, Role.PREDICTOR)
    wait_until(lambda: client.get("/version", headers=bearer_header(key)).status_code == 200)
    strict = {
        "x-content-type-options",
        "x-frame-options",
        "content-security-policy",
        "referrer-policy",
        "cache-control",
    }
    asked = ({}, bearer_header(key), bearer_header(key) | VIA_VIEW)
    answers = [client.post(PREDICT, content=BODY, headers=headers) for headers in asked]
    assert [answer.status_code for answer in answers] == [401, 200, 200]
    for answer in answers:
        assert strict <= answer.headers.keys()
        assert answer.headers.get("server", "granian") == "granian"
        assert "x-powered-by" not in answer.headers
