"""Sessions before a real gateway: on both paths, before a body is read, and in streams of events."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.sessions import Sessions
from modelyard.services.keys import Role
from modelyard.services.ledger import JobRequest, Ledger
from tests.slim.gateway.auth.test_guard_process import age_s, exchange
from tests.slim.gateway.server.test_rsgi import BODY, GOOD, head, statuses
from tests.slim.gateway.test_process import PREDICT
from tests.support.browsing import NAVIGATION, with_token
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.guarded import settings_with_keys
from tests.support.keyed import KEY_SECRET, bearer_header, key_for, prefix_of, revoke, until_ended
from tests.support.ledgers import new_ledger_file
from tests.support.slim_programs import gateway
from tests.support.waiting import wait_until

SESSIONS = Sessions(KEY_SECRET.encode(), 12)
FOREIGN = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_ledger_file(tmp_path_factory.mktemp("ledger") / "ledger.db")


@pytest.fixture(scope="module")
def keys(ledger: Path) -> Mapping[Role, str]:
    return {role: key_for(ledger, role) for role in Role}


@pytest.fixture(scope="module")
def running(
    shared_store: Store, shared_server: FakeModelServer, ledger: Path, keys: Mapping[Role, str]
) -> Iterator[httpx.Client]:
    del keys  # they are there before it is
    with gateway(**settings_with_keys(shared_store, shared_server, ledger)) as (_, found):
        yield found


@pytest.fixture
def client(running: httpx.Client) -> Iterator[httpx.Client]:
    """With a jar of its own; a page of ours says where it is from."""
    own = {"Origin": str(running.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=running.base_url, timeout=60, headers=own) as found:
        yield found


def sign_in(client: httpx.Client, key: str) -> Any:
    return client.post("/api/session", json={"key": key}).raise_for_status().json()


def test_a_session_predicts_with_its_token_and_not_without(client: httpx.Client, keys: Mapping[Role, str]) -> None:
    """On the fast path, too, before anything of the body is read; a role that may not is refused as with its key."""
    cookie = f"Cookie: {SESSIONS.cookie}={SESSIONS.write(SESSIONS.open(prefix_of(keys[Role.PREDICTOR]), 60))}"
    assert statuses(exchange(client, head(cookie, length=10_000_000))) == [403]
    session = sign_in(client, keys[Role.PREDICTOR])
    assert client.post(PREDICT, content=BODY).status_code == 403
    assert client.post(PREDICT, content=BODY, headers={"X-CSRF-Token": session["csrf_token"]}).json() == GOOD
    viewer = sign_in(client, keys[Role.VIEWER])
    refused = client.post(PREDICT, content=BODY, headers={"X-CSRF-Token": viewer["csrf_token"]})
    assert (refused.status_code, "role predictor" in refused.json()["error"]) == (403, True)


def test_a_refused_token_is_in_the_audit_trail(client: httpx.Client, keys: Mapping[Role, str]) -> None:
    """Whose session it was, and what it would have changed."""
    sign_in(client, keys[Role.OPERATOR])
    assert client.post(f"/api/models/{HALF_PLUS}:rollback", json={}).status_code == 403
    admin = bearer_header(keys[Role.ADMIN])

    def denied() -> list[tuple[str, str]]:
        found = client.get("/api/audit?kind=denied&by=operator", headers=admin).json()["entries"]
        return [(entry["action"], entry["detail"]["reason"]) for entry in found]

    wait_until(lambda: (f"POST /api/models/{HALF_PLUS}:rollback", "403 InvalidToken") in denied())


def test_a_page_of_another_site_is_refused_before_its_body_is_read(
    client: httpx.Client, keys: Mapping[Role, str], shared_server: FakeModelServer
) -> None:
    """Even with a key: browsers send none by themselves, but a page may have one."""
    before = len(shared_server.calls)
    key = f"Authorization: Bearer {keys[Role.ADMIN]}"
    lines = (key, "Origin: http://evil.example", "Sec-Fetch-Site: cross-site")
    assert statuses(exchange(client, head(*lines, length=10_000_000))) == [403]
    refused = client.post(f"/api/models/{HALF_PLUS}:rollback", headers=FOREIGN | bearer_header(keys[Role.ADMIN]))
    assert (refused.status_code, "evil.example" in refused.json()["error"]) == (403, True)
    assert client.post("/api/session", json={"key": keys[Role.ADMIN]}, headers=FOREIGN).status_code == 403
    assert len(shared_server.calls) == before


def test_before_a_key_was_shown_four_kilobytes_are_read(client: httpx.Client) -> None:
    """However long a body its client announces, or sends without announcing it."""
    asked = head(length=5_000).replace(PREDICT.encode(), b"/api/session")
    assert statuses(exchange(client, asked)) == [413]
    chunked = head("Transfer-Encoding: chunked", length=None).replace(PREDICT.encode(), b"/api/session")
    assert statuses(exchange(client, chunked + b"2000\r\n" + b" " * 0x2000 + b"\r\n")) == [413]


def test_a_browser_is_led_to_sign_in_and_a_stale_cookie_does_not_keep_it_out(
    client: httpx.Client, keys: Mapping[Role, str]
) -> None:
    """Signing in needs no session; a cookie that is over is none."""
    stale = {"Cookie": f"{SESSIONS.cookie}={SESSIONS.write(SESSIONS.open(prefix_of(keys[Role.VIEWER]), -5))}"}
    led = client.get("/audit?kind=key", headers={**NAVIGATION, **stale})
    assert (led.status_code, led.headers["Location"]) == (303, "/signin?next=/audit%3Fkind%3Dkey")
    shown = client.get(led.headers["Location"], headers={**NAVIGATION, **stale})
    assert (shown.status_code, 'data-then="/audit?kind=key"' in shown.text) == (200, True)
    assert client.post("/api/session", json={"key": keys[Role.VIEWER]}, headers=stale).status_code == 200
    assert client.get("/audit?kind=key", headers={"Accept": "text/html", "Sec-Fetch-Mode": "cors"}).status_code == 403


def test_events_stream_to_a_session_and_end_with_it(
    client: httpx.Client, keys: Mapping[Role, str], ledger: Path
) -> None:
    """An EventSource can send no header. The job goes on; the stream ends with the session, or with its key."""
    with closing(Ledger(f"sqlite:///{ledger}")) as found:
        job = found.jobs.add(JobRequest(model=HALF_PLUS), by="ann")
    short = SESSIONS.write(SESSIONS.open(prefix_of(keys[Role.VIEWER]), 4))
    client.cookies.set(SESSIONS.cookie, short)
    with client.stream("GET", f"/api/jobs/{job.id}/events", headers={"Accept": "text/event-stream"}) as answer:
        assert answer.status_code == 200
        assert "event: state" in list(answer.iter_lines())  # to its end
    client.cookies.clear()
    key = key_for(ledger, Role.VIEWER, name="reader")
    wait_until(lambda: client.get("/version", headers=bearer_header(key)).status_code == 200)
    sign_in(client, key)
    with client.stream("GET", f"/api/jobs/{job.id}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        reader = threading.Thread(target=lambda: list(lines))
        reader.start()
        revoke(ledger, key)
        until_ended(lambda: not reader.is_alive(), lambda: age_s(client, keys[Role.OPERATOR]), polls=3)
    assert client.get(f"/api/jobs/{job.id}/events").status_code == 401


def test_a_session_of_one_gateway_is_good_at_another(
    client: httpx.Client, keys: Mapping[Role, str], shared_store: Store, shared_server: FakeModelServer, ledger: Path
) -> None:
    """They share the secret and nothing else."""
    session = sign_in(client, keys[Role.ADMIN])
    with gateway(**settings_with_keys(shared_store, shared_server, ledger)) as (_, other):
        other.cookies.update(client.cookies)
        asked = {"name": "ann", "role": "viewer"}
        headers = {"X-CSRF-Token": with_token(session)["X-CSRF-Token"]}
        assert other.post("/api/keys", json=asked, headers=headers).status_code == 201


def test_a_gateway_without_keys_is_no_other_sites(shared_store: Store, shared_server: FakeModelServer) -> None:
    """Neither its pages' requests, nor those of a name that was led to loopback."""
    with gateway(store=shared_store.root, serving=shared_server.address) as (_, client):
        assert client.post(PREDICT, content=BODY, headers=FOREIGN).status_code == 403
        assert client.post(f"/api/models/{HALF_PLUS}:rollback", headers=FOREIGN).status_code == 403
        led = {"Host": f"evil.example:{client.base_url.port}"}
        assert client.get("/api/models", headers=led).status_code == 403
        assert client.post(PREDICT, content=BODY, headers=led).status_code == 403
        assert client.post(PREDICT, content=BODY).json() == GOOD
