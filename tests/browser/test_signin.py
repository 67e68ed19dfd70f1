"""Signing in with each role, what each sees, and what happens to a page whose session ends."""

import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from modelyard.services.cli.processes import launch
from modelyard.services.keys import Role
from modelyard.services.ledger import JobRequest, Ledger
from tests.browser.conftest import LONG_MS, AssertAccessible, OpenPage
from tests.browser.faults import Faults
from tests.browser.stack import OwnGateway, own_gateway
from tests.support.keyed import KEY_SECRET, expire, key_for, prefix_of, revoke
from tests.support.waiting import wait_until
from tests.system.conftest import System

UNAUTHENTICATED = "the server responded with a status of 401"
SENT = "{method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}'}"
MENU: Mapping[Role, list[str]] = {
    Role.PREDICTOR: ["Home", "Models"],
    Role.VIEWER: ["Home", "Models", "Jobs", "Queue", "Searches", "Live"],
    Role.TRAINER: ["Home", "Models", "Jobs", "Queue", "Searches", "Live"],
    Role.OPERATOR: ["Home", "Models", "Jobs", "Queue", "Searches", "Live"],
    Role.ADMIN: ["Home", "Models", "Jobs", "Queue", "Searches", "Live", "Keys", "Audit"],
}


@pytest.fixture(scope="module")
def ledger(beginning: System) -> Path:
    return beginning.home / "ledger.db"


@pytest.fixture(scope="module")
def keys(ledger: Path) -> Mapping[Role, str]:
    return {role: key_for(ledger, role) for role in Role}


@pytest.fixture(scope="module")
def guarded(beginning: System, keys: Mapping[Role, str]) -> Iterator[OwnGateway]:
    """A gateway with keys, of the system that has none otherwise."""
    del keys  # they are there before it is
    with own_gateway(beginning, key_secret=KEY_SECRET) as found:
        yield found


@pytest.fixture
def visit(open_page: OpenPage, guarded: OwnGateway, faults: Faults) -> Callable[[str], Page]:
    """A browser that knows no session, at an address."""
    faults.allow(UNAUTHENTICATED)

    def open_one(path: str) -> Page:
        page = open_page(base_url=guarded.url, permissions=["clipboard-read", "clipboard-write"])
        page.goto(path)
        return page

    return open_one


def paste(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")


def test_each_role_signs_in_sees_what_it_may_and_signs_out(
    visit: Callable[[str], Page], keys: Mapping[Role, str], assert_accessible: AssertAccessible
) -> None:
    """It comes back to where it wanted to go; afterwards nothing of it is left."""
    page = visit("/")
    assert_accessible(page)
    for role, key in keys.items():
        page.goto("/?from=a%20link")
        expect(page).to_have_url(re.compile(r"/signin\?next="))
        paste(page, key)
        expect(page).to_have_url(re.compile(r"/\?from=a%20link$"))
        expect(page.locator("#who")).to_have_text(f"{role} · {role}")
        assert page.get_by_role("navigation", name="Console").get_by_role("link").all_inner_texts() == MENU[role]
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(re.compile("/signin$"))
        assert page.context.cookies() == []


def test_bad_keys_are_refused_and_no_other_site_is_come_back_to(
    visit: Callable[[str], Page], keys: Mapping[Role, str], ledger: Path, guarded: OwnGateway
) -> None:
    """What was pasted stays, to be mended; the reason is not told apart."""
    old = key_for(ledger, Role.VIEWER, name="old")
    expire(f"sqlite:///{ledger}", old)
    page = visit("/signin?next=%2F%2Fevil.example%2F")
    for bad in ("hello", keys[Role.VIEWER][:-1] + "-", old):
        paste(page, bad)
        expect(page.get_by_role("alert")).to_contain_text("no valid API key")
        assert page.get_by_label("API key").input_value() == bad
    paste(page, keys[Role.VIEWER])
    expect(page.locator("h1")).to_have_text("Home")
    assert page.url == f"{guarded.url}/"


def test_a_key_is_created_shown_once_used_and_revoked(
    visit: Callable[[str], Page], keys: Mapping[Role, str], assert_accessible: AssertAccessible
) -> None:
    """A session that ends while something is typed is renewed there, and the request sent. The trail has it all."""
    page = visit("/keys")
    paste(page, keys[Role.ADMIN])
    page.get_by_role("button", name="Create key").first.click()
    page.get_by_label("Name").fill("robot")
    page.get_by_label("predictor").check()
    page.context.clear_cookies()
    page.get_by_role("dialog").get_by_role("button", name="Create key").click()
    again = page.get_by_role("dialog", name="Sign in again")
    again.get_by_label("API key").fill("hello")
    page.keyboard.press("Enter")
    expect(again.get_by_role("alert")).to_contain_text("no valid API key")
    again.get_by_label("API key").fill(keys[Role.ADMIN])
    page.keyboard.press("Enter")
    shown = page.get_by_role("dialog", name="The new key of robot")
    expect(shown).to_be_visible()
    assert_accessible(page)
    shown.get_by_role("button", name="Copy").click()
    expect(page.locator("#toasts")).to_contain_text("Copied.")
    robot = page.evaluate("navigator.clipboard.readText()")
    shown.get_by_role("button", name="I have copied it").click()
    expect(page.locator("#new-secret")).to_have_text("")
    assert robot.split("_", 2)[2] not in page.content()

    other = visit("/")
    other.clock.install()
    wait_until(lambda: signed_in(other, robot))

    page.locator(f'[data-revoke="{prefix_of(robot)}"]').click()
    page.get_by_role("dialog", name="Revoke the key of robot").get_by_role("button", name="Revoke key").click()
    expect(page.locator(f"#key-{prefix_of(robot)}")).to_have_count(0)
    other.clock.fast_forward(LONG_MS)
    expect(other.get_by_role("dialog", name="Sign in again")).to_be_visible()
    page.goto("/audit?kind=key")
    entries = page.locator(".trail > li")
    expect(entries.nth(0)).to_contain_text("admin revoked a key of robot")
    expect(entries.nth(1)).to_contain_text("admin created a key for robot with the role predictor")


def signed_in(page: Page, key: str) -> bool:
    """Tries to; the gateway may not have read a new key yet."""
    paste(page, key)
    refused = page.get_by_role("alert").filter(has_text="no valid API key")
    expect(page.locator("#who").or_(refused)).to_be_visible()
    return page.locator("#who").count() > 0


def test_a_page_whose_session_was_dismissed_says_so_and_goes_on_after_another_tab(
    visit: Callable[[str], Page], keys: Mapping[Role, str]
) -> None:
    """Not now is an answer; who signs in in another tab need not do so here."""
    page = visit("/")
    page.clock.install()
    paste(page, keys[Role.OPERATOR])
    expect(page.locator("#who")).to_be_visible()
    page.context.clear_cookies()
    page.clock.fast_forward(LONG_MS)
    page.get_by_role("dialog", name="Sign in again").get_by_role("button", name="Not now").click()
    expect(page.locator("#signed-out")).to_contain_text("You are signed out")
    tab = page.context.new_page()
    tab.goto("/")
    paste(tab, keys[Role.OPERATOR])
    expect(tab.locator("#who")).to_be_visible()
    page.bring_to_front()
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(page.locator("#signed-out")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/signin$"))


@pytest.fixture
def other_site() -> Iterator[str]:
    """A page at another port of this machine, which a cookie does not tell apart."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "index.html").write_text("<title>Another site</title>")
        server = ThreadingHTTPServer((launch.LOOPBACK, 0), partial(SimpleHTTPRequestHandler, directory=folder))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://{launch.LOOPBACK}:{server.server_port}/"
        server.shutdown()
        server.server_close()


def test_what_another_site_makes_a_signed_in_browser_send_is_refused(
    visit: Callable[[str], Page],
    keys: Mapping[Role, str],
    guarded: OwnGateway,
    beginning: System,
    other_site: str,
    faults: Faults,
) -> None:
    """Neither with the session, which the browser sends along, nor where there are no keys."""
    faults.allow("status of 403", "status of 404")
    page = visit("/")
    paste(page, keys[Role.ADMIN])
    expect(page.locator("#who")).to_be_visible()
    answered: list[int] = []
    page.on("response", lambda answer: answered.append(answer.status) if answer.request.method == "POST" else None)
    own = "() => fetch('/api/models/mnist_mlp:rollback', {method: 'POST', body: '{}'}).then((answer) => answer.text())"
    assert "X-CSRF-Token" in page.evaluate(own)
    page.goto(other_site)
    for url in (guarded.url, beginning.url):
        for path in ("/api/models/mnist_mlp:rollback", "/v1/models/mnist_mlp:predict", "/api/session"):
            page.evaluate(f"url => fetch(url, {SENT}).then(() => 0)", url + path)
    assert answered == [403] * 7


def test_a_stream_of_events_has_the_session_and_ends_with_its_key(
    visit: Callable[[str], Page], ledger: Path, keys: Mapping[Role, str]
) -> None:
    """An EventSource can send nothing else; it is not let in again."""
    del keys
    with closing(Ledger(f"sqlite:///{ledger}")) as found:
        waits = JobRequest(model="neuron", overrides={"devices": "gpu"})  # no worker here has one: it does not end
        job = found.jobs.add(waits, by="test", devices="gpu")
    reader = key_for(ledger, Role.VIEWER, name="reader")
    page = visit("/")
    wait_until(lambda: signed_in(page, reader))
    page.evaluate(
        """id => { const source = new EventSource(`/api/jobs/${id}/events`);
        source.addEventListener("state", () => (document.body.dataset.seen = "state"));
        source.onerror = () => { if (source.readyState === 2) document.body.dataset.seen = "closed"; } }""",
        job.id,
    )
    expect(page.locator("body")).to_have_attribute("data-seen", "state")
    revoke(ledger, reader)
    expect(page.locator("body")).to_have_attribute("data-seen", "closed")
    with closing(Ledger(f"sqlite:///{ledger}")) as found:
        found.jobs.cancel(job.id, "test")
