"""Browsers sign in with a key: the cookie, its end, the token of what changes anything, and where browsers are led."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth.browsers import is_own_path, locate_sign_in
from modelyard.services.gateway.auth.sessions import InvalidSession, Sessions
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from tests.slim.conftest import open_app
from tests.support.browsing import NAVIGATION, OWN_SCRIPT, sign_in, with_token
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.keyed import (
    bearer_header,
    expire,
    key_for,
    keyed_settings,
    keys_of_all_roles,
    new_keyed_ledger,
    prefix_of,
    revoke,
    until_ended,
)

NO_KEY = {"error": "this is no valid API key: it may be mistyped, expired or revoked"}
PREDICT, BODY = f"/v1/models/{HALF_PLUS}:predict", {"instances": [[1.0]]}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return new_keyed_ledger(tmp_path / "ledger.db")


@pytest.fixture
def keys() -> Mapping[Role, str]:
    return keys_of_all_roles()


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger: Path, keys: Mapping[Role, str]) -> GatewaySettings:
    del keys  # they are there before the gateway is
    return keyed_settings(filled, server, ledger, trusted_proxies=("10.0.0.0/8",))


# --- signing in -------------------------------------------------------------------------------------------------------


def test_a_key_is_pasted_once_and_stands_in_no_cookie(client: FlaskClient, keys: Mapping[Role, str]) -> None:
    """The cookie is for this site alone, no script reads it, and it ends by itself."""
    answer = sign_in(client, f"  {keys[Role.OPERATOR]}\n")
    assert answer.status_code == 200
    cookie = answer.headers["Set-Cookie"]
    parts = {part.strip().partition("=")[0] for part in cookie.split(";")}
    assert parts >= {"HttpOnly", "SameSite", "Max-Age", "Path"}
    assert "SameSite=Strict" in cookie
    assert "Secure" not in parts
    secret = keys[Role.OPERATOR].split("_", 2)[2]
    assert secret not in cookie
    who = client.get("/api/session").json
    assert (who["name"], who["role"], who["prefix"]) == ("operator", "operator", prefix_of(keys[Role.OPERATOR]))
    assert {"roll_out", "predict"} <= set(who["permissions"])
    assert "manage_keys" not in who["permissions"]
    ends_at = datetime.fromisoformat(who["expires_at"])
    assert timedelta(hours=11.9) < ends_at - datetime.now(UTC) <= timedelta(hours=12)


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ({"X-Forwarded-Proto": "https"}, "10.1.2.3"),
        ({"X-Forwarded-Proto": "http, HTTPS"}, "10.1.2.3"),
        ({"Origin": "https://localhost"}, "127.0.0.1"),
    ],
)
def test_over_tls_the_cookie_stays_there(
    client: FlaskClient, keys: Mapping[Role, str], headers: dict[str, str], peer: str
) -> None:
    """A proxy of ours says that it is TLS, or the page's own address."""
    answer = client.post(
        "/api/session", json={"key": keys[Role.VIEWER]}, headers=headers, environ_overrides={"REMOTE_ADDR": peer}
    )
    assert "Secure" in answer.headers["Set-Cookie"]


def test_anybodys_word_for_tls_is_not_believed(client: FlaskClient, keys: Mapping[Role, str]) -> None:
    """Only that of a proxy that was configured."""
    answer = sign_in(client, keys[Role.VIEWER], **{"X-Forwarded-Proto": "https"})
    assert "Secure" not in answer.headers["Set-Cookie"]


def test_a_key_that_is_none_is_refused_counted_and_in_the_trail(
    app: Flask, client: FlaskClient, keys: Mapping[Role, str], ledger: Path
) -> None:
    """In the same words whatever is wrong with it."""
    good = keys[Role.ADMIN]
    old, gone = (key_for(ledger, Role.VIEWER, name=name) for name in ("old", "gone"))
    expire(f"sqlite:///{ledger}", old)
    revoke(ledger, gone)
    bad = {
        "malformed": "hello",
        "wrong": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "expired": old,
        "revoked": gone,
    }
    for key in bad.values():
        answer = sign_in(client, key)
        assert (answer.status_code, answer.json, "Set-Cookie" in answer.headers) == (401, NO_KEY, False)
    app.extensions["guard"].denials.write()
    found = app.extensions["ledger"].audit.find(filters={"kind": "denied"})
    assert {entry.detail["reason"] for entry in found} == {f"401 {reason}" for reason in bad}


@pytest.mark.parametrize(("body", "status"), [({}, 400), ({"key": 5}, 400), ({"key": "x" * 300}, 400)])
def test_what_holds_no_key_is_refused(client: FlaskClient, body: Any, status: int) -> None:
    """A form that names none, or something else."""
    assert client.post("/api/session", json=body, headers=OWN_SCRIPT).status_code == status


def test_too_many_bad_keys_of_one_address_are_refused(settings: GatewaySettings, keys: Mapping[Role, str]) -> None:
    """As those in a header; a good one is let in all the same."""
    with open_app(settings.model_copy(update={"failed_keys_per_min": 2.0})) as app:
        client = app.test_client()
        assert [sign_in(client, "hello").status_code for _ in range(4)] == [401, 401, 429, 429]
        assert sign_in(client, keys[Role.VIEWER]).status_code == 200


def test_without_keys_there_is_nobody_to_sign_in(filled: Store, server: FakeModelServer, ledger: Path) -> None:
    """Everybody may do everything there, and the page leads on."""
    with open_app(
        GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=f"sqlite:///{ledger}")
    ) as app:
        client = app.test_client()
        assert sign_in(client, "hello").status_code == 409
        who = client.get("/api/session").json
        assert (who["name"], who["expires_at"], who["csrf_token"]) == ("", None, None)
        led = client.get("/signin?next=/models", headers=NAVIGATION)
        assert (led.status_code, led.headers["Location"]) == (303, "/models")
        assert client.delete("/api/session").status_code == 204


# --- what a session may -----------------------------------------------------------------------------------------------


def test_what_a_session_changes_takes_its_token(client: FlaskClient, keys: Mapping[Role, str]) -> None:
    """Not that of another session, nor none; predictions, too. What only reads takes none."""
    other = sign_in(client, keys[Role.ADMIN]).json
    session = sign_in(client, keys[Role.ADMIN]).json
    assert other["csrf_token"] != session["csrf_token"]
    asked = {"name": "ann", "role": "viewer"}
    for token in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "\xe9"}, with_token(other)):
        refused = client.post("/api/keys", json=asked, headers={**OWN_SCRIPT, **token})
        assert (refused.status_code, "X-CSRF-Token" in refused.json["error"]) == (403, True)
        assert client.post(PREDICT, json=BODY, headers={**OWN_SCRIPT, **token}).status_code == 403
        assert client.delete("/api/session", headers={**OWN_SCRIPT, **token}).status_code == 403
    assert client.get("/api/keys").status_code == 200
    assert client.post("/api/keys", json=asked, headers=with_token(session)).status_code == 201
    assert client.post(PREDICT, json=BODY, headers=with_token(session)).json == {"predictions": [[2.5]]}


def test_a_key_in_the_request_needs_no_token_and_comes_first(client: FlaskClient, keys: Mapping[Role, str]) -> None:
    """Whatever cookie the client has."""
    sign_in(client, keys[Role.VIEWER])
    made = client.post("/api/keys", json={"name": "ann", "role": "viewer"}, headers=bearer_header(keys[Role.ADMIN]))
    assert (made.status_code, made.json["by"]) == (201, "admin")
    who = client.get("/api/session", headers=bearer_header(keys[Role.ADMIN])).json
    assert (who["name"], who["csrf_token"]) == ("admin", None)


def test_signing_out_forgets_the_cookie(client: FlaskClient, keys: Mapping[Role, str]) -> None:
    """And everything is refused again."""
    session = sign_in(client, keys[Role.VIEWER]).json
    answer = client.delete("/api/session", headers=with_token(session))
    assert (answer.status_code, "Max-Age=0" in answer.headers["Set-Cookie"]) == (204, True)
    assert client.get("/api/session").status_code == 401


def test_a_session_ends_with_its_key(app: Flask, client: FlaskClient, keys: Mapping[Role, str], ledger: Path) -> None:
    """Within the promised seconds; another key's session goes on."""
    sign_in(client, keys[Role.VIEWER])
    other = app.test_client()
    sign_in(other, keys[Role.TRAINER])
    revoke(ledger, keys[Role.VIEWER])
    until_ended(lambda: client.get("/api/session").status_code == 401, lambda: app.extensions["guard"].key_cache.age_s)
    assert other.get("/api/session").status_code == 200


def test_a_session_never_outlives_its_key_and_is_read_by_every_gateway() -> None:
    """It ends with whichever ends first, and nowhere else is it good."""
    one, same, foreign = Sessions(b"a" * 32, 12), Sessions(b"a" * 32, 12), Sessions(b"b" * 32, 12)
    short = one.open("0123456789ab", left_s=60)
    assert short.ends_at <= time.time() + 60
    cookie = f"other=1; {one.cookie}={one.write(short)}; more=2"
    read = same.read(cookie)
    assert read is not None
    assert (read.prefix, read.csrf_token) == (short.prefix, short.csrf_token)
    assert foreign.read(cookie) is None
    with pytest.raises(InvalidSession, match="malformed"):
        foreign.read(cookie.replace(one.cookie, foreign.cookie))
    longer = cookie.replace(str(int(short.ends_at)), str(int(short.ends_at) + 1000))
    with pytest.raises(InvalidSession, match="malformed"):
        same.read(longer)
    assert same.cookie not in (foreign.cookie, "modelyard_")


# --- browsers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/models/a%20b?tab=%3Cb%3E&x=1", "/nothing", "/api/models", "/docs/"])
def test_a_browser_without_a_session_is_led_to_sign_in(client: FlaskClient, path: str) -> None:
    """Whether there is such a page or not; scripts and clients get the same 401 as ever."""
    led = client.get(path, headers=NAVIGATION)
    assert led.status_code == 303
    assert led.headers["Location"] == "/signin" if path == "/" else led.headers["Location"].startswith("/signin?next=/")
    for headers in ({}, {"Accept": "application/json"}, {**NAVIGATION, "Sec-Fetch-Mode": "cors"}):
        assert client.get(path, headers=headers).status_code == 401
    assert client.post(path, headers=NAVIGATION).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/models", "/models/a%20b/versions/3?tab=x&y=%2F#top", "/jobs/compare?id=a&id=b", "/%5Cevil", "/a//b"]
)
def test_own_addresses_are_come_back_to(path: str) -> None:
    assert is_own_path(path)


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "javascript:alert(1)", "", "evil",
     "/\t/evil.example", "/\n/evil.example", " //evil.example", "/a\\b", "/signin", "/signin?next=/", "/" + "a" * 3000],
)  # fmt: skip
def test_no_other_site_is_come_back_to(client: FlaskClient, path: str) -> None:
    """Nor signing in itself, for ever: the page goes home instead."""
    assert not is_own_path(path)
    shown = client.get("/signin", query_string={"next": path}, headers=NAVIGATION)
    assert (shown.status_code, 'data-then="/"' in shown.text) == (200, True)


def test_where_one_comes_back_to_keeps_its_query_and_its_spelling() -> None:
    assert (
        locate_sign_in("/models/a b/<i>", "tab=%3Cb%3E&x=1")
        == "/signin?next=/models/a%2520b/%253Ci%253E%3Ftab%3D%253Cb%253E%26x%3D1"
    )
    assert locate_sign_in("/", "") == "/signin"
    assert locate_sign_in("//evil.example", "") == "/signin"
    assert locate_sign_in("/\\evil.example", "") == "/signin?next=/%255Cevil.example"
