"""What people do about versions: a canary with its share, its evidence, a promotion, a rollback, and two at once."""

import shutil

import pytest
from playwright.sync_api import Page, expect

from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.store import Store
from tests.browser.conftest import AssertAccessible, OpenPage
from tests.browser.faults import Faults
from tests.support.http import http
from tests.support.versions import seal_as
from tests.support.waiting import wait_until
from tests.system.conftest import System

MODEL = "neuron"
REQUESTS = 40


@pytest.fixture(scope="module")
def version(system: System) -> int:
    """Another version of the model, as good as its stable one: a copy."""
    store = Store(system.home / "store")
    known = store.manifest(MODEL, find_stable(system))
    fields = {name: getattr(known, name) for name in Manifest.model_fields.keys() - {"model", "version", "files"}}
    with store.staging(MODEL) as staged:
        ignored = shutil.ignore_patterns("manifest.json")
        shutil.copytree(store.path(MODEL, known.version), staged, ignore=ignored, dirs_exist_ok=True)
        return store.publish(staged, seal_as(MODEL, **fields)).version


def find_stable(system: System) -> int:
    stable: int = http.get(f"{system.url}/api/models/{MODEL}").raise_for_status().json()["rollout"]["stable"]
    return stable


def ask(system: System) -> None:
    """Predictions that name no version."""
    body = http.get(f"{system.url}/api/models/{MODEL}").raise_for_status().json()["usage"]["example"]
    for _ in range(REQUESTS):
        http.post(f"{system.url}/v1/models/{MODEL}:predict", json=body).raise_for_status()


def read_traffic(system: System) -> set[int]:
    """Versions that have answered, as far as it was written down."""
    seen = http.get(f"{system.url}/api/models/{MODEL}/traffic").raise_for_status().json()["hour"]
    return {entry["version"] for entry in seen}


def test_a_canary_begins_is_watched_and_promoted_and_the_second_person_is_told(
    version: int,
    page: Page,
    open_page: OpenPage,
    system: System,
    faults: Faults,
    assert_accessible: AssertAccessible,
) -> None:
    """A refused plan keeps what was typed. Who rolls back what somebody else has just changed sees that first."""
    faults.allow("status of 400", "status of 409")
    before = find_stable(system)
    page.goto(f"/models/{MODEL}")
    page.get_by_role("button", name="Start a canary").click()
    dialog = page.locator("#canary-dialog")
    dialog.get_by_label("Version").select_option(str(version))
    dialog.get_by_label("Share of the requests").fill("40")
    expect(dialog.locator("output")).to_have_text("40 %")
    dialog.get_by_label("Steps").fill("50, 30")
    expect(dialog.locator("output")).to_have_text("steps")
    dialog.get_by_role("radio", name="Analysis ends it").check()
    assert_accessible(page)
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog.get_by_role("alert")).to_contain_text("expected ascending shares")
    dialog.get_by_label("Steps").fill("30, 50")
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#serving").get_by_role("article")).to_have_count(2)
    expect(page.locator("#serving")).to_contain_text("10,000 needed, then 50 %")

    ask(system)
    wait_until(lambda: {before, version} <= read_traffic(system), what="both have answered")
    page.get_by_role("link", name="See the evidence").click()
    expect(page.locator("#canary")).to_contain_text(f"Version {version}")
    expect(page.locator("#canary")).to_contain_text("answers 30 % of the requests")
    expect(page.locator("canvas")).to_have_count(2)
    expect(page.locator("svg.times rect.canary").first).to_be_visible()
    expect(page.locator("#canary")).to_contain_text("no feedback on answers of either version")
    assert_accessible(page)

    other = open_page()
    other.goto(f"/models/{MODEL}")
    other.get_by_role("button", name="Roll back").click()
    page.get_by_role("button", name="Promote it now").click()
    page.locator("#promote").get_by_label("Reason", exact=True).fill("as good")
    page.locator("#promote").get_by_role("button", name="Promote").click()
    expect(page.locator("#canary")).to_contain_text("The last canary")
    expect(page.locator("#canary")).to_contain_text("as good")

    rollback = other.locator("#rollback")
    rollback.get_by_role("button", name="Roll back").click()
    expect(rollback).to_be_visible()  # it asks for the reason
    rollback.get_by_label("Why?").fill("worse on Sundays")
    rollback.get_by_role("button", name="Roll back").click()
    expect(rollback.get_by_role("alert")).to_contain_text(f"version {before} is not stable any more, {version} is")
    expect(other.locator("#serving")).to_have_attribute("data-stable", str(version))
    expect(rollback.get_by_label("Why?")).to_have_value("worse on Sundays")
    expect(rollback.locator("[data-seen]")).to_have_value(str(version))  # else a click is too early
    rollback.get_by_role("button", name="Roll back").click()
    expect(rollback).to_be_hidden()
    expect(other.locator("#serving")).to_have_attribute("data-stable", str(before))
    expect(other.locator("#history")).to_contain_text("worse on Sundays")
