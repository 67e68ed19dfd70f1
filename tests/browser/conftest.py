"""Chromium before a running system: each test has pages of its own, and fails with what goes wrong in them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser.faults import Faults
from tests.browser.stack import CAPTURED, OwnGateway, answers, make_folder, own_gateway
from tests.support.chromium import find_chromium, launch
from tests.support.order import longest_first
from tests.support.slim_programs import end_forks
from tests.support.waiting import LONG_TIMEOUTS, wait_until
from tests.system.conftest import READY_S, System

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
GRAVE = ("serious", "critical")
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe-core whose findings may differ between light and dark."""
PATIENCE_MS = 60_000
"""For what comes soon on a machine with nothing else to do."""
LONG_MS = 15_000
"""Of a page's own clock: longer than it waits for anything."""
SIZE: ViewportSize = {"width": 1280, "height": 900}
SETTINGS = {
    "MODELYARD_CAPTURED_MODELS": CAPTURED,
    "MODELYARD_TRIGGER_S": "0.2",
    "MODELYARD_TRAFFIC_S": "0.5",
    "MODELYARD_SEARCH_S": "0.2",
}
STILL = {"reduced_motion": "reduce"}
"""Of every page: what pulses while something is busy is drawn sixty times a second, on the processor."""

expect.set_options(timeout=PATIENCE_MS)

OpenPage = Callable[..., Page]
AssertAccessible = Callable[..., None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what needs no version, while the system trains."""
    longest_first(items, ("test_signin",))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the program."""
    path = find_chromium()
    if path is None:
        pytest.skip(
            "there is no Chromium: install Debian's `chromium-headless-shell`, or set CHROMIUM to the path of one"
        )
    return path


@pytest.fixture(scope="session")
def launched(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The system, which becomes ready while the browser starts."""
    del chromium  # without it, nothing is trained
    root = tmp_path_factory.mktemp("browser")
    arguments = ("--data", "sample", "--models", str(make_folder(root)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (LONG_TIMEOUTS | SETTINGS).items():
            patch.setenv(name, value)
        running = System(root / "home", arguments).launch()
        yield running  # gateways of tests have these settings, too
        end_forks()
    assert running.stop() == []


@pytest.fixture(scope="session")
def browser(chromium: str, launched: System) -> Iterator[Browser]:
    del launched  # before it
    with launch(chromium) as running:
        yield running


@pytest.fixture(scope="session")
def system(launched: System, browser: Browser) -> System:
    """Serves ``mnist_mlp``, ``sentiment_lstm``, ``neuron`` and ``wine``, trained on what ships with the project.

    All tests share it: each takes it as the others left it.
    """
    del browser  # which starts meanwhile
    return launched.await_ready()


@pytest.fixture(scope="session")
def beginning(launched: System, browser: Browser) -> System:
    """The same, which may still train what it will serve: for tests that need no version."""
    del browser
    wait_until(lambda: answers(launched.url), READY_S, "the gateway")
    return launched


@pytest.fixture(scope="session")
def second_gateway(system: System) -> Iterator[OwnGateway]:
    with own_gateway(system) as found:
        yield found


@pytest.fixture
def gateway(second_gateway: OwnGateway) -> OwnGateway:
    """One beside the system's own, that a test may stop and start: it runs when the test begins."""
    if not second_gateway.is_running():
        second_gateway.start()
    return second_gateway


@pytest.fixture
def faults() -> Iterator[Faults]:
    found = Faults()
    yield found
    assert found.unexpected() == []


def page_options(system: System) -> dict[str, Any]:
    """Of the context of a page."""
    return {"base_url": system.url, "viewport": SIZE, "locale": "en-GB", **STILL}


@pytest.fixture
def open_page(browser: Browser, launched: System, faults: Faults) -> Iterator[OpenPage]:
    """Opens pages that know nothing of each other: ``open_page(base_url=..., color_scheme="dark")``."""
    opened = []

    def open_one(**options: Any) -> Page:
        context = browser.new_context(**page_options(launched) | options)
        opened.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        faults.watch(page)
        return page

    yield open_one
    for context in opened:
        context.close()


@pytest.fixture
def page(open_page: OpenPage, system: System) -> Page:
    del system  # it is ready
    return open_page()


@pytest.fixture(scope="session")
def assert_accessible() -> AssertAccessible:
    """Fails if axe-core finds something serious in a page as it is now; of ``colours``, if it was looked at before."""
    source = AXE.read_text()

    def check(page: Page, *, colours: bool = False) -> None:
        if not page.evaluate("'axe' in window"):
            page.evaluate(source)
        options = {
            "resultTypes": ["violations"],
            **({"runOnly": {"type": "rule", "values": COLOURS}} if colours else {}),
        }
        found = page.evaluate("options => axe.run(document, options)", options)["violations"]
        grave = [describe(one) for one in found if one["impact"] in GRAVE]
        assert not grave, "\n".join(grave)

    return check


def describe(violation: dict[str, Any]) -> str:
    places = [node["failureSummary"] + " " + node["html"][:200] for node in violation["nodes"][:3]]
    return f"{violation['id']}: {violation['help']}: {places}"
