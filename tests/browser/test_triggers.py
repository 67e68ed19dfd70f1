"""The page of triggers: made, refused, changed, fired, removed."""

from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.browser.conftest import LONG_MS
from tests.browser.faults import Faults
from tests.support.http import http
from tests.support.waiting import wait_until
from tests.system.conftest import System


def give_feedback(system: System) -> None:
    """On one prediction of ``wine``."""
    with httpx.Client(base_url=system.url, timeout=60) as http:
        example = http.get("/api/models/wine").json()["usage"]["example"]
        found = http.post("/v1/models/wine:predict", json=example).raise_for_status().headers["X-Request-Id"]
        body = {"request_id": found, "label": 0}
        wait_until(lambda: http.post("/api/feedback", json=body).is_success, what="feedback is taken")


def list_jobs(system: System) -> list[Any]:
    found: list[Any] = http.get(f"{system.url}/api/jobs?model=wine").raise_for_status().json()["jobs"]
    return found


def test_a_trigger_is_made_changed_fired_and_removed(system: System, page: Page, faults: Faults) -> None:
    """What is refused stays in the form; the firing appears by itself, and leads to its job."""
    faults.allow("400")
    page.clock.install()
    page.goto("/models/wine/triggers")
    page.get_by_role("button", name="Make a trigger").click()
    form = page.locator("#edit-form")
    form.get_by_label("Name").fill("learn")
    form.get_by_label("When").fill("0 0 30 2 *")
    form.get_by_role("button", name="Set", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text("is never due")
    expect(form.get_by_label("Name")).to_have_value("learn")
    form.get_by_label("When").fill("0 0 1 1 *")
    form.get_by_role("button", name="Set", exact=True).click()
    card = page.locator("article.trigger", has_text="learn")
    expect(card).to_contain_text("01-01 00:00")
    card.get_by_role("button", name="Change").click()
    form.get_by_label("Train", exact=True).select_option("feedback")
    form.get_by_label("Predictions with feedback").fill("1")
    form.get_by_label("The new version becomes").select_option("none")
    form.get_by_text("Limits and recipe values").click()
    form.get_by_label("Recipe values").fill('{"epochs": 1}')
    form.get_by_role("button", name="Set", exact=True).click()
    expect(card).to_contain_text("after 1 more predictions with feedback")
    (stored,) = http.get(f"{system.url}/api/models/wine/triggers").json()["triggers"]
    assert (stored["feedback"], stored["job"]["overrides"], stored["job"]["rollout"]) == (1, {"epochs": 1}, "none")
    before = len(list_jobs(system))
    give_feedback(system)
    wait_until(lambda: len(list_jobs(system)) > before, what="it fires")
    page.clock.fast_forward(LONG_MS)
    cell = card.locator("a.cell")
    expect(cell).to_have_count(1)
    link = cell.get_attribute("href") or ""
    assert link.startswith("/jobs/job-")
    http.post(f"{system.url}/api{link}:cancel")  # nobody waits for it
    page.once("dialog", lambda dialog: dialog.accept())
    card.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No trigger yet")).to_be_visible()
