"""Jobs: one that is watched until it ends, a stream that breaks, cancelling, and two in the same charts."""

import re
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from modelyard.services.ledger import Ledger
from modelyard.services.settings import make_sqlite_url
from tests.browser.conftest import LONG_MS, OpenPage
from tests.browser.faults import Faults
from tests.browser.stack import OwnGateway
from tests.support.curves import add_trained
from tests.support.http import http
from tests.support.signals import standing_still
from tests.support.training import TITLE
from tests.support.waiting import wait_until
from tests.system.conftest import System

MODEL = "neuron"
LONG = {"epochs": 1000, "batch_size": 8}
"""Longer than any test."""


def submit(system: System, **overrides: Any) -> str:
    body = {"model": MODEL, "overrides": overrides, "rollout": "manual", "data": "sample"}
    answer = http.post(f"{system.url}/api/jobs", json=body).raise_for_status()
    return str(answer.json()["id"])


def get(system: System, job: str, part: str = "") -> Any:
    return http.get(f"{system.url}/api/jobs/{job}{part}").raise_for_status().json()


def wait_for_epoch(system: System, job: str, least: int) -> None:
    wait_until(lambda: len(get(system, job, "/curves")["epochs"]) >= least, 120, f"{least} epochs of {job}")


@pytest.fixture
def running(system: System) -> Any:
    """A job that trains until it is cancelled."""
    job = submit(system, **LONG)
    yield job
    http.post(f"{system.url}/api/jobs/{job}:cancel")


def test_a_job_is_watched_until_it_has_a_version(page: Page, system: System) -> None:
    """State, curves, log and result come by themselves; what was chosen stays, and is in the address."""
    job = submit(system, epochs=4)
    page.goto(f"/jobs/{job}?smooth=0.5&find=epoch")
    expect(page.locator("#board canvas").first).to_be_visible()
    expect(page.locator("#status .badge")).to_have_text("succeeded")
    expect(page.locator("#result")).to_contain_text("The gate accepted it")
    expect(page.get_by_role("link", name=f"of {MODEL}")).to_have_attribute(
        "href", re.compile(r"/models/neuron/versions/\d+")
    )
    expect(page.locator("#log mark").first).to_have_text("epoch")
    expect(page.locator("#log-found")).to_contain_text("lines")
    expect(page.locator("#smoothing")).to_have_value("0.5")
    page.locator(".curve[data-metric=loss] summary").click()
    rows = page.locator(".curve[data-metric=loss] tbody tr")
    expect(rows).to_have_count(4)
    page.get_by_label("Log scale").check()
    expect(page).to_have_url(re.compile("log=1"))
    expect(rows).to_have_count(4)
    page.locator("#log-stage").select_option("export")
    expect(page.get_by_role("button", name="Retry as a new job")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("cpu with")


def test_a_broken_stream_goes_on_where_it_was(
    gateway: OwnGateway, open_page: OpenPage, faults: Faults, system: System, running: str
) -> None:
    """The page says so, and shows afterwards what came meanwhile. Then the job is cancelled on the page."""
    faults.allow(
        "ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED", "503"
    )
    page = open_page(base_url=gateway.url)
    page.clock.install()
    page.goto(f"/jobs/{running}")
    wait_for_epoch(system, running, 2)
    expect(page.locator(".curve[data-metric=loss] canvas")).to_be_visible()
    page.locator(".curve[data-metric=loss] summary").click()
    rows = page.locator(".curve[data-metric=loss] tbody tr")
    expect(rows.nth(1)).to_be_attached()
    gateway.stop()
    expect(page.locator("#stream")).to_contain_text("goes on by itself")
    known = len(get(system, running, "/curves")["epochs"])
    wait_for_epoch(system, running, known + 2)
    with standing_still(system.named(TITLE)[0]):
        gateway.start()
        page.clock.fast_forward(LONG_MS)
        expect(page.locator("#stream")).to_be_hidden()
        expect(rows.nth(known + 1)).to_be_attached()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel job").click()
    expect(page.locator("#status .badge")).to_have_text("cancelled")
    expect(page.locator("#outcome")).to_contain_text("Nothing was published")


def test_two_jobs_are_compared_in_one_colour_each(page: Page, system: System) -> None:
    """Chosen in the list; the colour follows the job; only what differs is shown; who is hidden is in the address."""
    with closing(Ledger(make_sqlite_url(system.home))) as ledger:
        jobs = [add_trained(ledger, (0.4, 0.2, seed / 10), model=MODEL, epochs=3, seed=seed).id for seed in (1, 2)]
    page.goto(f"/jobs?model={MODEL}")
    for job in jobs:
        page.locator(f'input[value="{job}"]').check()
    expect(page.locator("#picked")).to_have_text("2 jobs chosen.")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#board canvas").first).to_be_visible()
    colours = [read_colour(page, job) for job in jobs]
    assert colours[0] != colours[1]
    expect(page.locator("#differences")).to_contain_text("seed")
    expect(page.locator("#differences")).not_to_contain_text("batch_size")
    expect(page.locator("#differences td.best")).not_to_have_count(0)
    page.get_by_label("Mean and band over seeds").check()
    page.locator(".curve[data-metric=loss] summary").click()
    expect(page.locator(".curve[data-metric=loss] th").last).to_contain_text("mean of 2")
    page.locator(f'[data-show="{jobs[0]}"]').uncheck()
    expect(page).to_have_url(re.compile(f"hide={jobs[0]}"))
    page.get_by_role("link", name=f"Remove {jobs[0]}").click()
    expect(page.locator(".legend li")).to_have_count(1)
    assert read_colour(page, jobs[1]) == colours[1]


def read_colour(page: Page, job: str) -> str:
    dot = page.locator(f'.legend [data-job="{job}"] .dot')
    expect(dot).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
    return str(dot.evaluate("element => getComputedStyle(element).backgroundColor"))
