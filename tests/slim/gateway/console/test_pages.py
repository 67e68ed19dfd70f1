"""What holds for every page of the console."""

from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import (
    NOTHING,
    format_actor,
    format_ago,
    format_bytes,
    format_duration,
    format_number,
    format_percent,
    link,
)
from tests.support.console_pages import PAGES, Places

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_a_page_is_not_cached_and_runs_only_its_own_files(client: FlaskClient) -> None:
    """A strict policy: no inline script, nothing from elsewhere."""
    answer = client.get("/", headers=BROWSER)
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy


def test_a_page_asks_the_public_api_with_the_clients_own_permissions(app: Flask) -> None:
    """The same JSON as over HTTP; an error is the view's own."""
    api = PublicApi()
    with app.test_request_context("/"):
        app.preprocess_request()
        assert api.get("/api/models") == app.test_client().get("/api/models").json
        assert api.find("/api/models/none") is None


@pytest.mark.parametrize(
    ("parts", "path"), [(("models", "a b"), "/models/a%20b"), (("models", "<b>&?#"), "/models/%3Cb%3E%26%3F%23")]
)
def test_links_encode_every_part(parts: tuple[str, ...], path: str) -> None:
    """Names hold any character but / and :."""
    assert link(*parts) == path


def test_values_are_written_as_people_read_them() -> None:
    """Durations by their two largest units, numbers by four digits, and a dash for what is not there."""
    assert [format_duration(s) for s in (0.2, 61, 8100, 90061, None)] == [
        "0 s",
        "1 min 1 s",
        "2 h 15 min",
        "1 d 1 h",
        NOTHING,
    ]
    assert [format_number(n) for n in (3, 0.98765, 1e-9, 12345678, float("nan"))] == [
        "3",
        "0.9877",
        "1.00e-09",
        "12,345,678",
        NOTHING,
    ]
    assert (format_percent(0.256), format_bytes(2048), format_bytes(12)) == ("25.6 %", "2.0 KiB", "12 B")
    assert format_ago("2020-01-01T00:00:00+00:00").endswith(" d ago")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("http 127.0.0.1", "127.0.0.1"),
        ("http [::1]", "[::1]"),
        ("job job-1 of http 127.0.0.1", "job-1 of 127.0.0.1"),
        ("job job-1 of search search-2: trial 3", "job-1 of search-2: trial 3"),
        ("http lover", "http lover"),
        ("the job job keeper", "the job job keeper"),
    ],
)
def test_who_did_something_is_said_once(name: str, shown: str) -> None:
    """Names of keys stay as they are."""
    assert format_actor(name) == shown


def test_an_unknown_path_is_a_page_for_browsers_and_json_for_programs(client: FlaskClient) -> None:
    """Markup in it stays text."""
    shown = client.get("/no/<b>page", headers=BROWSER)
    assert (shown.status_code, shown.content_type) == (404, "text/html; charset=utf-8")
    assert b"/no/&lt;b&gt;page" in shown.data
    told = client.get("/no/page")
    assert (told.status_code, told.json) == (404, {"error": "no such route: GET /no/page; GET /api lists them"})


def test_every_page_is_in_the_list_that_others_look_at(app: Flask) -> None:
    """What axe-core, screenshots and benchmarks find in ``tests/support/console_pages.py``."""
    rules = {rule.endpoint for rule in app.url_map.iter_rules() if rule.endpoint.startswith("console.")}
    adapter, places = app.url_map.bind("localhost"), Places("m", 1)
    listed = {adapter.match(urlsplit(path(places)).path)[0] for path in PAGES.values()}
    assert rules - listed == {"console.get_asset", "console.show_sign_in"}


def test_what_a_page_asks_in_process_leaves_the_requests_in_progress_as_they_are(client: FlaskClient) -> None:
    """After pages that ask much, one that is refused among them, only the reading itself is in progress."""
    for path in ("/", "/models", "/models/none/feedback"):
        client.get(path, headers=BROWSER)
    assert "modelyard_gateway_requests_in_flight 1.0" in client.get("/metrics").text.splitlines()
