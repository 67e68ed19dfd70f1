"""Signing in, keys and the audit trail as pages: who sees what, and what entries say."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr

from modelyard.models.registry.store import Store
from modelyard.services.gateway.console.access import FIRST_KEYS
from modelyard.services.gateway.console.audit_text import describe_entry
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from modelyard.services.ledger import Entry, Kind, Outcome
from tests.slim.conftest import open_app
from tests.support.browsing import NAVIGATION, sign_in
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.keyed import expire, key_for, keyed_settings, keys_of_all_roles, new_keyed_ledger, prefix_of

MARKUP = "<b>x</b>"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return new_keyed_ledger(tmp_path / "ledger.db")


@pytest.fixture
def keys() -> Mapping[Role, str]:
    return keys_of_all_roles()


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger: Path, keys: Mapping[Role, str]) -> GatewaySettings:
    del keys  # they are there before the gateway is
    return keyed_settings(filled, server, ledger)


def page(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=NAVIGATION)
    assert (answer.status_code, answer.content_type) == (status, "text/html; charset=utf-8")
    return answer.text


@pytest.mark.parametrize("role", list(Role))
def test_each_role_sees_what_it_may(client: FlaskClient, keys: Mapping[Role, str], role: Role) -> None:
    """And who it is; what it may not is in no menu, and a page of its own that says so."""
    session = sign_in(client, keys[role]).json
    shown = page(client, "/")
    assert f'data-name="{role}" data-role="{role}"' in shown
    assert f'name="csrf-token" content="{session["csrf_token"]}"' in shown
    led_to = set(re.findall(r'<li><a href="(/[a-z]*)"', shown))
    expected = {"/", "/models"}
    expected |= {"/jobs", "/queue", "/searches", "/live"} if role is not Role.PREDICTOR else set()
    expected |= {"/keys", "/audit"} if role is Role.ADMIN else set()
    assert led_to == expected
    for path in ("/keys", "/audit"):
        refused = page(client, path, 200 if role is Role.ADMIN else 403)
        assert ("Not with this key" in refused) == (role is not Role.ADMIN)
        assert ("Sign in with another key" in refused) == (role is not Role.ADMIN)


def test_signing_in_shows_nothing_of_what_is_inside(client: FlaskClient) -> None:
    """No menu, no name, no model; without scripts, the key would go into a body, and never into an address."""
    shown = page(client, "/signin")
    assert HALF_PLUS not in shown
    assert "<li><a" not in shown
    assert 'method="post" action="/api/session"' in shown
    assert "csrf-token" not in shown


def test_keys_are_listed_without_their_secrets(
    app: Flask, client: FlaskClient, keys: Mapping[Role, str], ledger: Path
) -> None:
    """The active ones, or all; what ended has no button; when each was last used, as soon as that was noted."""
    old = key_for(ledger, Role.VIEWER, "<i>narrow<i>", name="old")
    expire(f"sqlite:///{ledger}", old)
    sign_in(client, keys[Role.ADMIN])
    active, every = page(client, "/keys"), page(client, "/keys?show=all")
    assert (prefix_of(old) in active, prefix_of(old) in every) == (False, True)
    assert f'data-revoke="{prefix_of(old)}"' not in every
    assert f'data-revoke="{prefix_of(keys[Role.VIEWER])}"' in active
    assert "&lt;i&gt;narrow&lt;i&gt;" in every
    assert not [key for key in keys.values() if key in every]
    assert active.count("not yet") == len(keys) - 1  # all but one's own
    app.extensions["guard"].key_cache.close()
    found = {key.name: key.last_used_at for key in app.extensions["ledger"].keys.list_keys()}
    assert {name for name, at in found.items() if at is not None} == {"admin"}
    assert abs((datetime.now(UTC) - found["admin"]).total_seconds()) < 3600


def test_without_keys_the_page_says_how_to_have_some(filled: Store, server: FakeModelServer, ledger: Path) -> None:
    with open_app(
        GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=f"sqlite:///{ledger}")
    ) as app:
        shown = page(app.test_client(), "/keys")
    assert "This gateway uses no keys" in shown
    assert "Create key" not in shown
    assert [unescape(line) for line in re.findall(r'<code id="first-keys-\d">([^<]*)', shown)] == list(FIRST_KEYS)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the page's first line calls openssl")
def test_the_lines_that_it_shows_make_a_secret_and_a_key(
    filled: Store, server: FakeModelServer, ledger: Path, tmp_path: Path
) -> None:
    """In any folder, typed one after the other. The gateway that is started there takes the key, and nobody without."""
    *lines, up = FIRST_KEYS
    assert up == "modelyard up"
    url = f"sqlite:///{ledger}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = "\n".join(("set -e", *lines, "modelyard keys list"))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"MODELYARD_LEDGER_URL": url, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ann" in done.stdout
    secret, key = (
        (tmp_path / "secrets" / name).read_text().strip() for name in ("modelyard_key_secret", "modelyard_key")
    )
    with open_app(
        GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=url, key_secret=SecretStr(secret))
    ) as app:
        assert app.test_client().get("/api/models").status_code == 401
        assert app.test_client().get("/api/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200


# --- the audit trail --------------------------------------------------------------------------------------------------


@pytest.fixture
def trail(app: Flask, client: FlaskClient, keys: Mapping[Role, str]) -> FlaskClient:
    """120 jobs and a promotion, whose reason is markup; seen by an admin."""
    audit = app.extensions["ledger"].audit
    audit.record(*(Entry(Kind.JOB, "submit", "ann", model=HALF_PLUS, subject=f"job-{n:016x}") for n in range(120)))
    audit.record(Entry(Kind.ROLLOUT, "promote", MARKUP, model=HALF_PLUS, version=2, detail={"reason": MARKUP}))
    sign_in(client, keys[Role.ADMIN])
    return client


def test_entries_are_sentences_that_lead_to_what_they_are_about(trail: FlaskClient) -> None:
    """With the reason, and all of it on demand; nothing of it is markup."""
    shown = page(trail, "/audit?kind=rollout")
    assert f'<a href="/models/{HALF_PLUS}/versions/2">made version 2 of {HALF_PLUS} stable</a>' in shown
    assert "“&lt;b&gt;x&lt;/b&gt;”" in shown
    assert MARKUP not in shown
    assert "&#34;previous&#34;" in shown
    assert "modelyard verify" in shown


def test_filters_and_pages_live_in_the_address(trail: FlaskClient) -> None:
    """Older leads on with the same filters, to the end, and each entry is seen once."""
    path, seen = "/audit?kind=job&by=ann", []
    while path:
        shown = page(trail, path)
        seen += re.findall(r'<li id="(job-\d+)">', shown)
        assert "<option selected>job</option>" in shown
        assert 'value="ann"' in shown
        older = re.search(r'href="(/audit\?[^"]*)">Older', shown)
        path = older[1].replace("&amp;", "&") if older else ""
    assert len(seen) == len(set(seen)) == 120


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("version=x", 400, "version: received"),
        ("since=yesterday", 400, "expected a time"),
        ("before=job-999999", 404, "unknown entry"),
        ("by=nobody", 200, "Nothing matches"),
    ],
)
def test_a_filter_that_cannot_be_stays_as_it_was_typed(trail: FlaskClient, query: str, status: int, text: str) -> None:
    """The page says what is wrong with it."""
    shown = page(trail, f"/audit?{query}", status)
    assert text in shown
    if status == 400:
        assert f'value="{query.partition("=")[2]}"' in shown


@pytest.mark.parametrize(
    ("entry", "did", "href"),
    [
        (Entry(Kind.KEY, "create", "ann", subject="0123", detail={"name": "bob", "role": "viewer"}),
         "created a key for bob with the role viewer", "/keys?show=all"),
        (Entry(Kind.ROLLOUT, "promote", "ann", model="m", version=2, outcome=Outcome.REQUESTED),
         "asked to make version 2 of m stable", "/models/m/versions/2"),
        (Entry(Kind.TRIGGER, "set", "ann", model="a b", subject="n", detail={"model": "other"}),
         "set the trigger n of a b", "/models/a%20b/triggers"),
        (Entry(Kind.ROLLOUT, "something new", "ann", model="m", version=1, subject="s"), "something new: m 1 s",
         "/models/m/versions/1"),
        (Entry(Kind.KEY, "revoke", "ann", subject="0123"), "revoke: 0123", "/keys?show=all"),
        (Entry(Kind.DENIED, "jobs.submit_job", "ann", detail={"reason": "403", "count": 3}),
         "tried what the role may not: jobs.submit_job, 3 times", None),
        (Entry(Kind.DENIED, "authenticate", "", detail={"reason": "401 expired"}), "sent an expired key", None),
        (Entry(Kind.DENIED, "other attempts", "", detail={"reason": "too many different ones"}),
         "was refused (too many different ones): other attempts", None),
    ],
)  # fmt: skip
def test_what_happened_is_said_in_a_sentence(entry: Entry, did: str, href: str | None) -> None:
    """An action of another release in its own words; a detail stands for no field of the entry."""
    found = describe_entry(as_of_the_api(entry))
    assert (found["did"], found["href"]) == (did, href)


def as_of_the_api(entry: Entry) -> dict[str, Any]:
    return vars(entry) | {
        "id": f"{entry.kind}-1",
        "kind": str(entry.kind),
        "outcome": str(entry.outcome),
        "origin": None,
    }
