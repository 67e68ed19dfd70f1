"""Queue and searches in Chromium: a job from the form, one that waits and why, and the trials of a search."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from modelyard.models.catalog import read_catalog
from modelyard.services.ledger import JobRequest, Ledger, State
from modelyard.services.ledger.searches import SUCCEEDED, Tried
from modelyard.services.searches import SearchRequest, make_plan
from tests.browser.conftest import LONG_MS, AssertAccessible, OpenPage
from tests.browser.faults import Faults
from tests.browser.stack import own_gateway
from tests.support.http import http
from tests.support.jobs import claim
from tests.system.conftest import System

TRIALS = 20


def test_a_job_is_started_from_the_form_and_a_bad_value_is_said_there(
    page: Page, system: System, faults: Faults
) -> None:
    """Model and recipe are in the address; what was typed stays through all of it; only what was changed is sent."""
    faults.allow("400", "404.*/jobs/job-")
    page.goto("/queue#new")
    page.get_by_label("epochs").fill("2")
    page.get_by_label("Model").select_option("neuron")
    expect(page.locator("#new-form")).to_have_attribute("data-body", re.compile('"neuron"'))
    page.get_by_label("Recipe").select_option("full")
    expect(page.locator("#new-form")).to_have_attribute("data-body", re.compile('"full"'))
    expect(page).to_have_url(re.compile(r"model=neuron&recipe=full"))
    page.reload()
    expect(page.get_by_label("Recipe")).to_have_value("full")
    page.get_by_label("epochs").fill("2")
    page.get_by_label("learning_rate").fill("0")
    page.get_by_label("What becomes of it").select_option("none")
    page.get_by_role("button", name="Start the job").click()
    alert = page.locator("#new-form [role=alert]")
    expect(alert).to_have_text("recipe key 'learning_rate': received 0, allowed: a number above 0 and of at most 10")
    expect(page.get_by_label("learning_rate")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("epochs")).to_have_value("2")
    page.get_by_label("learning_rate").fill("0.03")
    page.get_by_role("button", name="Start the job").click()
    expect(page).to_have_url(re.compile(r"/jobs/job-[0-9a-f]{16}$"))
    job = http.get(f"{system.url}/api{page.url.removeprefix(system.url)}").json()
    assert (job["model"], job["recipe"], job["rollout"]) == ("neuron", "full", "none")
    assert job["overrides"] == {"epochs": 2, "learning_rate": 0.03}
    http.post(f"{system.url}/api/jobs/{job['id']}:cancel")  # nobody waits for it


def test_a_job_that_waits_says_why_and_is_cancelled_there(page: Page, system: System) -> None:
    """Home names it, and leads to the queue."""
    body = {"model": "neuron", "overrides": {"devices": "gpu"}, "rollout": "none"}
    job = http.post(f"{system.url}/api/jobs", json=body).raise_for_status().json()["id"]
    page.clock.install()
    page.goto("/")
    page.clock.fast_forward(LONG_MS)
    page.get_by_role("link", name="Jobs wait for a worker").click()
    row = page.locator(f"#waits-{job}")
    expect(row).to_contain_text("no trainer with a GPU is alive")
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Cancel").click()
    expect(page.locator("#toasts")).to_contain_text("Cancelled.")
    expect(row).to_have_count(0)


@pytest.fixture
def search(system: System, tmp_path: Path, open_page: OpenPage) -> Iterator[Page]:
    """The page of one that has ended: the best of its trials has the highest learning rate of them.

    It is in a ledger of its own, where no scheduler takes another step.
    """
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger(url)) as ledger, own_gateway(system, ledger_url=url) as gateway:
        ledger.prepare()
        known = read_catalog(system.home / "store")
        assert known
        plan = make_plan(SearchRequest(model="neuron", trials=TRIALS), known.find("neuron"))
        found = ledger.searches.add("search-00000000000000aa", "neuron", "<i>ann</i>", plan.model_dump(mode="json"))
        rates = [values["learning_rate"] for values in plan.values]
        tried = [Tried(trial, measure(ledger, found.id, rate)) for trial, rate in enumerate(rates)]
        assert ledger.searches.begin_rung(found, tried)
        ledger.searches.end(ledger.searches.get(found.id), SUCCEEDED, "the fastest is the best")
        page = open_page(base_url=gateway.url)
        page.goto(f"/searches/{found.id}")
        yield page
        page.close()  # it would ask on when its gateway is gone


def measure(ledger: Ledger, search: str, rate: float) -> str:
    """A trial's job that has ended."""
    job = claim(ledger, ledger.jobs.add(JobRequest(model="neuron"), by="test", group=search), "test")
    ledger.jobs.begin_publishing(job)
    result = {"state": "measured", "metrics": {"r2": 0.5 + rate, "loss": 0.1}}
    assert ledger.jobs.finish(job, State.SUCCEEDED, result)
    return job.id


def drag(page: Page, axis: Locator, start: float, end: float) -> None:
    """Along an axis, from one share of its height to another; 0 is its lower end."""
    axis.scroll_into_view_if_needed()
    box = axis.locator(".grip").bounding_box()
    assert box
    across = box["x"] + box["width"] / 2
    page.mouse.move(across, box["y"] + (1 - start) * box["height"])
    page.mouse.down()
    page.mouse.move(across, box["y"] + (1 - end) * box["height"], steps=4)
    page.mouse.up()


def test_the_trials_of_a_search_are_filtered_sorted_and_pointed_at(
    search: Page, assert_accessible: AssertAccessible
) -> None:
    """On parallel axes, in a scatter and in a table; what is chosen is in the address."""
    page = search
    rows = page.locator("#trials tbody tr:not([hidden])")
    expect(rows).to_have_count(TRIALS)
    expect(rows.first).to_contain_text("best")
    expect(page.locator("#scatter circle")).to_have_count(TRIALS)
    assert_accessible(page)
    rows.nth(3).hover()
    expect(page.locator("#parallel svg")).to_have_class(re.compile("pointed"))
    expect(page.locator("#parallel .lines > .on")).to_have_count(1)

    drag(page, page.locator('[data-axis="learning_rate"]'), 0.6, 1.02)
    kept = page.locator("#parallel .lines > g:not(.out)").count()
    assert 0 < kept < TRIALS
    expect(rows).to_have_count(kept)
    expect(page.locator("#shown")).to_have_text(f"{kept} of {TRIALS} trials, filtered by learning_rate")
    page.get_by_role("button", name="learning_rate", exact=True).click()
    page.get_by_label("Value", exact=True).select_option("learning_rate")
    assert re.search(r"brush=learning_rate.*&sort=value.learning_rate&key=learning_rate", page.url)
    page.reload()
    expect(rows).to_have_count(kept)
    expect(page.get_by_label("Value", exact=True)).to_have_value("learning_rate")
    expect(rows.last).to_contain_text("best")

    page.locator('[data-axis="learning_rate"] .grip').press("Escape")
    expect(rows).to_have_count(TRIALS)
    assert "brush" not in page.url
