"""Who is let in, and to what: every route as every role, and with everything that is no good key."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from modelyard.models.registry.store import Store
from modelyard.services.gateway.auth import permissions
from modelyard.services.gateway.auth.permissions import PROBES, PUBLIC, ROLES, VIEWS, Permission
from modelyard.services.gateway.auth.sessions import Sessions
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.keys import Role
from tests.slim.conftest import open_app
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer
from tests.support.keyed import (
    KEY_SECRET,
    bearer_header,
    expire,
    key_for,
    keyed_settings,
    keys_of_all_roles,
    new_keyed_ledger,
    prefix_of,
    revoke,
)
from tests.support.waiting import wait_until

SEGMENTS = {"model": HALF_PLUS, "version": "1", "label": "stable", "rest": "nothing", "path": "index.js"}
"""Parts of paths by their converter."""
OTHER_THAN_VIEWS = frozenset({"OPTIONS", "HEAD"})
EVERY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")
SESSIONS = Sessions(KEY_SECRET.encode(), 12)
OWN = frozenset({"x-request-id"})
"""Headers that differ from answer to answer."""


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return new_keyed_ledger(tmp_path / "ledger.db")


@pytest.fixture
def keys() -> Mapping[Role, str]:
    """One of each role."""
    return keys_of_all_roles()


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger: Path) -> GatewaySettings:
    return keyed_settings(filled, server, ledger, failed_keys_per_min=0)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Sends the cookies that a test gives it; its own jar would remove them."""
    return app.test_client(use_cookies=False)


def routes(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Endpoint, method and a path of each."""
    for rule in app.url_map.iter_rules():
        methods = sorted(set(EVERY_METHOD if rule.methods is None else rule.methods) - OTHER_THAN_VIEWS)
        yield from ((rule.endpoint, method, path_of(rule)) for method in methods)


def path_of(rule: Rule) -> str:
    return re.sub(r"<(?:(\w+):)?(\w+)>", lambda found: SEGMENTS.get(found[1], "x1"), rule.rule)


def test_every_route_allows_exactly_the_roles_that_it_declares(
    app: Flask, client: FlaskClient, keys: Mapping[Role, str]
) -> None:
    """The whole table: 403 names the roles that it takes; whoever may gets the view's own answer, right or wrong."""
    seen = 0
    for endpoint, method, path in routes(app):
        for role, key in keys.items():
            answer = client.open(path, method=method, headers=bearer_header(key))
            may = endpoint in PROBES | PUBLIC or VIEWS[endpoint] in ROLES[role]
            assert (answer.status_code == 403) == (not may), (role, method, path, answer.status_code, answer.text)
            assert answer.status_code != 401, (role, method, path)
            if not may:
                expected = " or ".join(permissions.roles_with(VIEWS[endpoint]))
                assert answer.json["error"].startswith(f"expected a key of role {expected}, "), (role, method, path)
            seen += 1
    assert seen > 300


def test_the_roles_are_what_their_names_say() -> None:
    """Written out once more, by what would hurt."""
    may = {role: {permission.name for permission in ROLES[role]} for role in Role}
    about = {"READ_SERVICE", "READ_MODELS"}
    assert may[Role.VIEWER] == about | {"READ", "READ_METRICS"}
    assert may[Role.PREDICTOR] == about | {"PREDICT", "GIVE_FEEDBACK"}
    assert may[Role.TRAINER] == may[Role.VIEWER] | {"TRAIN", "PREDICT"}
    assert may[Role.OPERATOR] == may[Role.TRAINER] | may[Role.PREDICTOR] | {"MANAGE_ALL_JOBS", "ROLL_OUT"}
    assert may[Role.ADMIN] == may[Role.OPERATOR] | {"MANAGE_KEYS", "READ_AUDIT"}


def test_a_view_without_a_declared_permission_stops_the_start(app: Flask) -> None:
    """Default deny: neither a forgotten view nor a permission for one that is gone."""
    app.url_map.add(Rule("/api/backdoor", endpoint="forgotten"))
    with pytest.raises(RuntimeError, match="views and permissions differ: forgotten"):
        permissions.check(app.url_map)


@pytest.fixture
def bad(ledger: Path, keys: Mapping[Role, str]) -> Mapping[str, dict[str, Any]]:
    """Ways of asking that are no good, all with an admin's key."""
    good = keys[Role.ADMIN]
    expired, revoked = (key_for(ledger, Role.ADMIN, name=name) for name in ("old", "gone"))
    expire(f"sqlite:///{ledger}", expired)
    revoke(ledger, revoked)
    other = "A" if good[-1] != "A" else "B"
    return {
        "no key": {},
        "wrong": {"headers": bearer_header(good[:-1] + other)},
        "unknown": {"headers": bearer_header(good.replace(prefix_of(good), "0" * 12))},
        "expired": {"headers": bearer_header(expired)},
        "revoked": {"headers": bearer_header(revoked)},
        "two headers": {"headers": [*bearer_header(good).items(), *bearer_header(good).items()]},
        "in the query": {"query_string": {"key": good, "access_token": good, "Authorization": f"Bearer {good}"}},
        "in a cookie": {"headers": {"Cookie": f"Authorization=Bearer {good}"}},
        "a key as a session": {"headers": {"Cookie": f"{SESSIONS.cookie}={good}"}},
        "a forged session": {"headers": cookie_of(prefix_of(good), sessions=Sessions(b"x" * 32, 12))},
        "a session in another name": {"headers": cookie_of(prefix_of(good), name="modelyard_session")},
        "a session that is over": {"headers": cookie_of(prefix_of(good), left_s=-5)},
        "a session of an expired key": {"headers": cookie_of(prefix_of(expired))},
        "a session of a revoked key": {"headers": cookie_of(prefix_of(revoked))},
        "a session beside a bad key": {"headers": {**cookie_of(prefix_of(good)), "Authorization": "Bearer x"}},
        "in a header of another name": {"headers": {"X-Api-Key": good}},
        "another scheme": {"headers": {"Authorization": f"Basic {good}"}},
        "no scheme": {"headers": {"Authorization": good}},
        "empty": {"headers": {"Authorization": ""}},
        "only a scheme": {"headers": {"Authorization": "Bearer"}},
        "two keys": {"headers": {"Authorization": f"Bearer {good} {good}"}},
        "longer": {"headers": bearer_header(good + "A")},
        "in capitals": {"headers": bearer_header(good.upper())},
    }


def cookie_of(
    prefix: str, left_s: float = 3600, sessions: Sessions = SESSIONS, name: str = SESSIONS.cookie
) -> dict[str, str]:
    """A cookie as a gateway would have set it for a key with this prefix."""
    return {"Cookie": f"{name}={sessions.write(sessions.open(prefix, left_s))}"}


def test_without_a_valid_key_every_route_gives_the_same_error(
    app: Flask, client: FlaskClient, bad: Mapping[str, dict[str, Any]]
) -> None:
    """401 in the same words, with the same headers, whatever is wrong; probes need none, but mind one that is bad."""
    answers = set()
    for endpoint, method, path in [*routes(app), ("unknown", "GET", "/nothing"), ("unknown", "POST", "/api/jobs/x")]:
        for way, asked in bad.items():
            answer = client.open(path, method=method, **asked)
            if endpoint in PROBES | PUBLIC and "Authorization" not in dict(asked.get("headers", {})):
                assert answer.status_code in {200, 400, 404, 503}, (way, method, path)  # 400: nothing to sign in with
                continue
            assert answer.status_code == 401, (way, method, path, answer.status_code)
            answers.add(whole(answer))
    assert len(answers) == 1
    (headers, body), *_ = answers
    assert json.loads(body) == {"error": "expected a valid API key: Authorization: Bearer KEY"}
    assert ("WWW-Authenticate", "Bearer") in headers or ("www-authenticate", "Bearer") in headers


def whole(answer: TestResponse) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """All of an answer but what is its own."""
    return tuple(sorted(item for item in answer.headers if item[0].lower() not in OWN)), answer.data


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_schemes_case_does_not_matter(client: FlaskClient, keys: Mapping[Role, str], scheme: str) -> None:
    """RFC 9110, section 11.1."""
    headers = {"Authorization": f"{scheme} {keys[Role.VIEWER]}"}
    assert client.get("/version", headers=headers).status_code == 200


def test_paths_in_other_cases_are_guarded_as_what_they_mean(client: FlaskClient, keys: Mapping[Role, str]) -> None:
    """TensorFlow Serving's tolerance is no way around the guard."""
    path, body = f"/V1/models/{HALF_PLUS}:predict", {"instances": [[1.0]]}
    assert client.post(path, json=body, headers=bearer_header(keys[Role.VIEWER])).status_code == 403
    assert client.post(path, json=body, headers=bearer_header(keys[Role.PREDICTOR])).json == {"predictions": [[2.5]]}


def test_a_cors_preflight_request_needs_no_key(server: FakeModelServer, settings: GatewaySettings) -> None:
    """Browsers send none with it; they learn that they may send one. No view is run."""
    with open_app(settings.model_copy(update={"cors_origins": ("http://page",)})) as app:
        client, headers = app.test_client(), {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
        for path in (f"/v1/models/{HALF_PLUS}:predict", f"/v2/models/{HALF_PLUS}/infer", "/api/feedback"):
            answer = client.options(path, headers=headers)
            assert answer.status_code == 200
            allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
            assert {"Authorization", "X-Rollout-Key", "X-Request-Class"} <= set(allowed)
        assert {client.options(path_of(rule)).status_code for rule in app.url_map.iter_rules()} <= {200, 400}
        assert not server.calls


def test_probes_name_models_to_keys_for_all_of_them_only(
    client: FlaskClient, server: FakeModelServer, keys: Mapping[Role, str], ledger: Path
) -> None:
    """To others only that the process is not ready."""
    key_for_one = key_for(ledger, Role.PREDICTOR, HALF_PLUS)
    assert client.get("/healthz").json == {"live": True}
    server.loaded.clear()
    for path, field in (("/readyz", "reasons"), ("/v2/health/ready", "error")):
        plain, keyed = client.get(path), client.get(path, headers=bearer_header(keys[Role.VIEWER]))
        assert (plain.status_code, keyed.status_code) == (503, 503)
        narrow = client.get(path, headers=bearer_header(key_for_one))
        assert "shown with an API key for all models" in str(plain.json[field])
        assert plain.json == narrow.json
        assert (HALF_PLUS in plain.text, HALF_PLUS in keyed.text) == (False, True)
    server.loaded |= {(HALF_PLUS, 1), (DIGITS, 1), (REVIEWS, 1)}
    server.unloadable[HALF_PLUS, 2] = (15, "checksum mismatch")
    hint = {"ready": True, "details": ["shown with an API key for all models"]}
    assert client.get("/readyz").json == hint
    viewer = bearer_header(keys[Role.VIEWER])
    wait_until(lambda: "half_plus version 2 is damaged" in client.get("/readyz", headers=viewer).text)


def test_the_documents_can_be_opened_to_browsers(settings: GatewaySettings) -> None:
    """They send no key with an address that is typed in."""
    with open_app(settings.model_copy(update={"public_docs": True})) as app:
        client = app.test_client()
        expected = {"/docs": 308, "/docs/": 200, "/openapi.json": 200, "/version": 401}
        assert {path: client.get(path).status_code for path in expected} == expected


def test_the_document_says_what_each_route_takes(client: FlaskClient, keys: Mapping[Role, str]) -> None:
    """Swagger UI prompts for a key because of it."""
    document = client.get("/openapi.json", headers=bearer_header(keys[Role.VIEWER])).json
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert document["paths"]["/api/keys"]["post"]["security"] == [{"key": []}]
    assert document["paths"]["/api/keys"]["post"]["description"] == "Roles: admin."


def test_as_long_as_the_keys_could_not_be_read_every_request_is_refused(
    settings: GatewaySettings, keys: Mapping[Role, str], ledger: Path
) -> None:
    """503 with Retry-After for what may be a key, 401 for what is none; and the gateway is not ready."""
    ledger.write_bytes(b"no database")
    with open_app(settings) as app:
        client = app.test_client()
        answer = client.get("/version", headers=bearer_header(keys[Role.VIEWER]))
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert client.get("/version").status_code == 401
        assert client.get("/readyz").json["reasons"] == ["API keys have not been read from the ledger yet"]


def test_the_reason_of_a_refusal_is_counted_but_not_returned(
    client: FlaskClient, bad: Any, keys: Mapping[Role, str]
) -> None:
    """By reason, never by key."""
    for asked in bad.values():
        client.get("/version", **asked)
    metrics = client.get("/metrics", headers=bearer_header(keys[Role.VIEWER])).text
    counted = dict(re.findall(r'modelyard_gateway_refused_keys_total{reason="([\w ]+)"} ([\d.]+)', metrics))
    assert {name: float(count) for name, count in counted.items() if float(count)} == {
        "none": 5.0, "wrong": 1.0, "unknown": 1.0, "expired": 2.0, "revoked": 2.0, "malformed": 11.0,
        "session over": 1.0,
    }  # fmt: skip
    assert "myd_" not in metrics


@pytest.mark.parametrize("path", ["/healthz", "/version", "/docs/", "/nothing", "/metrics", f"/v1/models/{HALF_PLUS}"])
def test_strict_headers_are_on_every_response(client: FlaskClient, keys: Mapping[Role, str], path: str) -> None:
    """Once each, on good answers and on errors; the page of the documents has a policy that lets it work."""
    for headers in ({}, bearer_header(keys[Role.VIEWER])):
        answer = client.get(path, headers=headers)
        expected = {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
        }
        found = {name: answer.headers.getlist(name) for name in expected}
        if path == "/docs/" and answer.status_code == 200:
            del expected["cache-control"], found["cache-control"]
        assert found == {name: [value] for name, value in expected.items()}
        (policy,) = answer.headers.getlist("content-security-policy")
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert ("script-src" in policy) == (path == "/docs/" and answer.status_code == 200)


def test_permissions_say_what_views_do() -> None:
    """Each has one at least, and every role is more than nothing."""
    assert set(VIEWS.values()) | {Permission.MANAGE_ALL_JOBS} == set(Permission)
    assert not (PROBES | PUBLIC) & VIEWS.keys()
