"""What holds for every page: it can be read by everyone, fits a phone, and is there in light and dark."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser.conftest import LONG_MS, SIZE, AssertAccessible, OpenPage, page_options
from tests.browser.faults import Faults
from tests.browser.stack import OwnGateway
from tests.support.console_pages import NO_PLACES, PAGES, Places, find_places
from tests.system.conftest import System

PHONE: ViewportSize = {"width": 390, "height": 844}
MARKED = "wine"
"""The model whose every name has markup in it."""
OTHER_PLACES = NO_PLACES._replace(model=MARKED)


@pytest.fixture(scope="module")
def places(system: System) -> Places:
    """A search is there, too, and has ended."""
    with httpx.Client(base_url=system.url, timeout=60) as http:
        search = http.post("/api/searches", json={"model": "neuron", "trials": 2}).raise_for_status().json()["id"]
        http.post(f"/api/searches/{search}:cancel").raise_for_status()
    return find_places(system.url)


@pytest.fixture(scope="module")
def reading(browser: Browser, system: System) -> Iterator[Page]:
    """A page for all tests that only go from one address to the next: each of its own would start a process."""
    with browser.new_context(**page_options(system)) as context:
        yield context.new_page()


@pytest.fixture
def reader(reading: Page, faults: Faults) -> Iterator[Page]:
    """That page, as it was at first."""
    faults.watch(reading)
    yield reading
    reading.goto("about:blank")
    reading.emulate_media(color_scheme="light")
    reading.set_viewport_size(SIZE)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_by_everyone(
    name: str, reader: Page, places: Places, assert_accessible: AssertAccessible
) -> None:
    """No serious finding in light and dark; no sideways scrolling on a phone; one heading; names are text."""
    reader.goto(PAGES[name](places))
    expect(reader.locator("h1")).to_have_count(1)
    assert_accessible(reader)
    reader.emulate_media(color_scheme="dark")
    assert_accessible(reader, colours=True)
    reader.set_viewport_size(PHONE)
    reader.wait_for_function("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert_markup_is_text(reader)


def test_what_cannot_be_read_by_everyone_is_found(page: Page, assert_accessible: AssertAccessible) -> None:
    """A picture and a button without a name."""
    page.goto("/")
    page.evaluate("document.querySelector('main').append(document.createElement('button'), new Image())")
    with pytest.raises(AssertionError, match=r"(?s)button-name.*image-alt"):
        assert_accessible(page)


def test_the_theme_is_the_systems_until_the_reader_chooses(page: Page) -> None:
    """And the choice stays."""
    page.emulate_media(color_scheme="dark")
    page.goto("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light


def test_a_page_says_that_the_gateway_is_away_and_recovers_by_itself(
    gateway: OwnGateway, open_page: OpenPage, faults: Faults
) -> None:
    """Nobody reloads it."""
    faults.allow("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")
    page = open_page(base_url=gateway.url)
    page.clock.install()
    page.goto("/")
    expect(page.locator("#away")).to_be_hidden()
    gateway.stop()
    page.clock.fast_forward(LONG_MS)
    expect(page.locator("#away")).to_be_visible()
    gateway.start()
    page.clock.fast_forward(LONG_MS)
    expect(page.locator("#away")).to_be_hidden()
    expect(page.locator("#toasts")).to_contain_text("answers again")


def test_an_address_that_leads_nowhere_is_a_page_too(page: Page, faults: Faults) -> None:
    """It says so, and leads home."""
    faults.allow("404")
    page.goto("/no/such/page")
    expect(page.locator("h1")).to_have_text("There is nothing here")
    page.get_by_role("link", name="Home", exact=True).last.click()
    expect(page.locator("h1")).to_have_text("Home")


@pytest.mark.parametrize("name", [name for name, path in PAGES.items() if path(NO_PLACES) != path(OTHER_PLACES)])
def test_markup_in_names_stays_text(name: str, reader: Page, places: Places) -> None:
    """Titles, classes and the summary of this model have scripts and pictures in them, which nobody runs."""
    reader.goto(PAGES[name](places._replace(model=MARKED)))
    expect(reader.locator("h1")).to_have_count(1)
    assert_markup_is_text(reader)


def assert_markup_is_text(page: Page) -> None:
    assert page.title() != "run"
    assert page.locator('main img[src="x"], main b:text-is("alcohol"), main i:text-is("C")').count() == 0
