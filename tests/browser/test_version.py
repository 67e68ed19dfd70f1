"""A version's page: from a confusion to the very mistakes, by mouse and by keyboard."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from modelyard.models.registry import evaluations
from modelyard.models.registry.manifest import CategoryLimits, NamedLimits, NumberLimits
from modelyard.models.registry.store import Store
from modelyard.pipeline.results import ConfusedPair, Evaluation, Mistake
from tests.browser.conftest import LONG_MS, OpenPage
from tests.browser.faults import Faults
from tests.browser.stack import OwnGateway, own_gateway
from tests.support.fakes import REVIEWS, publish
from tests.support.http import http
from tests.system.conftest import System

MARKUP = "<img src=x onerror=\"document.title='run'\">"
LABELS = (MARKUP, "<b>good</b>")


@pytest.fixture(scope="module")
def path(system: System) -> str:
    stable = http.get(f"{system.url}/api/models/mnist_mlp").json()["rollout"]["stable"]
    return f"/models/mnist_mlp/versions/{stable}"


def test_a_mistake_is_opened_from_the_confusion_by_mouse(page: Page, path: str) -> None:
    """The picture with what was right and what was answered; the choice is in the address, and goes back."""
    page.goto(path)
    cell = page.locator(".matrix [data-cell]").first
    expected, received = (cell.get_attribute("aria-label") or "").split(": ", 1)[1].split(" taken for ")
    cell.click()
    title = page.locator("#mistakes-title")
    expect(title).to_contain_text(f"{expected} taken for {received}")
    assert f"?expected={expected}&received={received}" in page.url
    page.locator("#mistakes .mistake").first.click()
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_role("img")).to_be_visible()
    expect(viewer.locator(".expected")).to_have_text(expected)
    expect(viewer.locator(".received")).to_have_text(received)
    viewer.get_by_role("button", name="Close").click()
    page.reload()
    expect(title).to_contain_text(f"{expected} taken for {received}")
    page.go_back()
    expect(title).to_contain_text("The worst mistakes")


def test_a_mistake_is_opened_from_the_confusion_by_keyboard(page: Page, path: str) -> None:
    """Arrow keys from cell to cell, Enter, and arrow keys from mistake to mistake."""
    page.goto(path)
    stop = page.locator('.matrix [data-cell][tabindex="0"]')
    expect(stop).to_have_count(1)
    stop.focus()
    first = stop.get_attribute("href")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    focused = page.locator(".matrix [data-cell]:focus")
    expect(focused).not_to_have_attribute("href", first or "")
    chosen = (focused.get_attribute("aria-label") or "").split(": ", 1)[1]
    page.keyboard.press("Enter")
    expect(page.locator("#mistakes-title")).to_contain_text(chosen)
    expect(page.locator("#mistakes-title")).to_be_focused()
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#mistakes-title")).to_contain_text("The worst mistakes")
    page.locator("#mistakes .mistake").first.press("Enter")
    shown = page.locator("#viewer-title")
    expect(shown).to_contain_text("Mistake 1 of")
    picture = page.locator("#viewer-body img").get_attribute("src")
    page.keyboard.press("ArrowRight")
    expect(shown).to_contain_text("Mistake 2 of")
    expect(page.locator("#viewer-body img")).not_to_have_attribute("src", picture or "")
    page.keyboard.press("ArrowLeft")
    expect(shown).to_contain_text("Mistake 1 of")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#mistakes .mistake").first).to_be_focused()


def test_classes_are_sorted_and_curves_stand_out(page: Page, path: str) -> None:
    """What is chosen is in the address."""
    page.goto(path)
    page.locator("#classes").get_by_role("link", name="F1").click()
    column = page.locator('#classes [aria-sort="ascending"]')
    expect(column).to_contain_text("F1")
    assert "sort=f1" in page.url
    key = page.locator("#plots .key").first
    key.click()
    expect(key).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#plots polyline.lit")).to_have_count(1)


def test_what_was_picked_while_the_gateway_was_away_is_shown_when_it_is_back(
    gateway: OwnGateway, open_page: OpenPage, faults: Faults, path: str
) -> None:
    """The page says that it is away, and nobody picks it again."""
    faults.allow("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")
    page = open_page(base_url=gateway.url)
    page.clock.install()
    page.goto(path)
    expect(page.locator('.matrix [data-cell][tabindex="0"]')).to_have_count(1)
    gateway.stop()
    page.locator(".matrix [data-cell]").first.click()
    expect(page.locator("#away")).to_be_visible()
    expect(page.locator("#mistakes-title")).to_contain_text("The worst mistakes")
    gateway.start()
    page.clock.fast_forward(LONG_MS)
    expect(page.locator("#mistakes-title")).to_contain_text("taken for")
    expect(page.locator("#away")).to_be_hidden()


def test_markup_in_texts_labels_and_columns_stays_text(system: System, open_page: OpenPage, tmp_path: Path) -> None:
    """On the page, in the viewer, and in the address."""
    store = Store(tmp_path / "store")
    evaluation = Evaluation(
        metrics={"accuracy": 0.5},
        examples=2,
        confusion=[[0, 1], [0, 1]],
        confused=(ConfusedPair(expected=LABELS[0], received=LABELS[1], count=1),),
        wrong=1,
        per_class={label: {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1.0} for label in LABELS},
    )

    def write(staged: Path, given: object) -> None:
        mistake = Mistake(example=0, expected=LABELS[0], received=LABELS[1], score=0.9, input=given)
        (staged / evaluations.FILE).write_text(evaluation.model_dump_json(exclude={"reference"}))
        (staged / evaluations.MISTAKES_FILE).write_text(mistake.model_dump_json() + "\n")

    named = NamedLimits(inputs={"a": NumberLimits(title=MARKUP), "b": CategoryLimits()})
    publish(store, REVIEWS, labels=LABELS, summary=MARKUP, prepare=lambda staged: write(staged, f"so {MARKUP}"))
    publish(store, REVIEWS, labels=LABELS, input=named, prepare=lambda staged: write(staged, {"a": 1, "b": MARKUP}))
    with own_gateway(system, store=store.root) as gateway:
        page = open_page(base_url=gateway.url)
        for version in (1, 2):
            page.goto(f"/models/{REVIEWS}/versions/{version}")
            page.locator(".matrix [data-cell]").click()
            expect(page.locator("#mistakes-title")).to_contain_text(f"{LABELS[0]} taken for {LABELS[1]}")
            page.locator("#mistakes .mistake").click()
            expect(page.locator("#viewer-body")).to_contain_text(MARKUP)
            expect(page.locator("#viewer-body .expected")).to_have_text(LABELS[0])
            assert page.locator('main img[src="x"], main b').count() == 0
            assert page.title() != "run"
        page.close()  # it would ask on when its gateway is gone
