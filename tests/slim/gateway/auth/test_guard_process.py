"""The guard of a real gateway: before the body is read, on both paths, and while keys end."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.models.registry.store import Store
from modelyard.services.keys import Role
from modelyard.services.ledger import JobRequest, Ledger
from tests.slim.gateway.server.test_rsgi import BODY, GOOD, connected, head, receive_response, statuses
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer
from tests.support.guarded import VIA_VIEW, gateway_settings, own_ledger, settings_with_keys
from tests.support.keyed import bearer_header, key_for, revoke, until_ended
from tests.support.ledgers import new_ledger_file
from tests.support.ports import held_port
from tests.support.slim_programs import gateway, modelyard, refusal
from tests.support.waiting import wait_until

__all__ = ["gateway_settings", "own_ledger"]
REFUSED = {"error": "expected a valid API key: Authorization: Bearer KEY"}


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


# --- what is said of it ----------------------------------------------------------------------------------------------


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
