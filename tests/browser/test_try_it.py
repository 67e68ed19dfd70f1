"""Try it, and the label desk: what is drawn, typed or filled in has its answer at once, and a wrong one its label."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import LONG_MS, OpenPage
from tests.browser.faults import Faults
from tests.browser.stack import COLUMNS, OwnGateway
from tests.support.http import http
from tests.support.waiting import wait_until
from tests.system.conftest import System

ZERO = ((140, 45), (90, 80), (75, 140), (95, 215), (140, 235), (190, 210), (205, 140), (190, 75), (140, 45))
PAD = 280
SENT = 12
REVIEW = "a wonderful film, superbly acted"
PROGRAMS = {"curl": ("bash", "-c"), "python": (sys.executable, "-c"), "client": (sys.executable, "-c")}
MARKS = {"curl": "base64 -d", "python": "urllib.request", "client": "modelyard.client"}
STALE = "This answers the input before."
AWAY = ("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")


def draw(page: Page, points: Sequence[tuple[float, float]]) -> None:
    """One stroke, by the mouse."""
    pad = page.locator("canvas.pad")
    pad.scroll_into_view_if_needed()
    box: Any = pad.bounding_box()
    scale = box["width"] / PAD
    (x, y), *rest = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in points]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in rest:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()


def count_coloured(page: Page) -> int:
    """Pixels of the heat map that are not grey."""
    script = """map => {
        const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
        let found = 0;
        for (let at = 0; at < data.length; at += 4) {
            const rgb = [data[at], data[at + 1], data[at + 2]];
            found += Math.max(...rgb) > 30 + Math.min(...rgb);
        }
        return found;
    }"""
    found: int = page.locator(".why-map").evaluate(script)
    return found


def test_a_drawn_digit_is_answered_and_corrected(
    page: Page, system: System, assert_accessible: Callable[[Page], None]
) -> None:
    """With its bars, version and request id; the call in code gives the same answer; a correction is feedback.

    It says how typical the digit is, and why it is one, in a map over the picture.
    """
    page.goto("/models/mnist_mlp/try")
    expect(page.locator(".says")).to_contain_text("as you draw")
    draw(page, ZERO)
    says = page.locator(".says strong")
    expect(says).to_have_text("0")
    expect(page.locator(".bars li")).to_have_count(10)
    expect(page.locator(".bars .best .bar-name")).to_have_text("0")
    expect(page.locator(".answer-meta")).to_contain_text("version 1")
    expect(page.locator(".answer-meta")).to_contain_text("sample data")
    expect(page.locator(".sent")).to_contain_text("28 pixels, grey, white on black, centred.")
    for language, program in PROGRAMS.items():
        page.locator(f"[data-language={language}]").click()
        expect(page.locator("#code")).to_contain_text(MARKS[language])
        code = page.locator("#code").inner_text()
        said = subprocess.run([*program, code], capture_output=True, check=True, text=True).stdout
        assert "'label': '0'" in said.replace('"', "'").replace("':'", "': '"), language

    expect(page.locator(".answer-sure")).to_contain_text("typical")
    expect(page.locator(".answer-sure")).to_contain_text("99 %: {")
    page.get_by_label("Why this answer?").check()
    expect(page.locator(".why h4")).to_have_text("Why 0?")
    expect(page.locator(".why-picture")).to_contain_text("Over the picture that the model saw.")
    wait_until(lambda: count_coloured(page) > 100, 10, "the heat map")
    assert_accessible(page)
    page.get_by_label("Why this answer?").uncheck()
    expect(page.locator(".why")).to_be_hidden()

    page.get_by_role("button", name="That's wrong").click()
    page.get_by_role("group", name="What is right?").get_by_role("button", name="6").click()
    expect(page.locator(".answer-foot")).to_contain_text("should have said “6”")
    kept = http.get(f"{system.url}/api/models/mnist_mlp/answers?order=newest&unlabelled=false").json()
    assert (kept["answers"][0]["predicted"], kept["answers"][0]["label"], kept["labels"]["hand"]) == ("0", "6", 1)

    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".says")).to_contain_text("as you draw")
    expect(page.locator(".bars")).to_have_count(0)


def test_a_file_that_is_no_picture_is_said_where_it_was_chosen(page: Page, tmp_path: Path) -> None:
    """And the next one is answered; a version beside another one says whether they agree."""
    wrong = tmp_path / "notes.txt"
    wrong.write_text("no picture")
    page.goto("/models/mnist_mlp/try")
    page.locator("input[type=file]").set_input_files(wrong)
    expect(page.locator(".picture [role=alert]")).to_contain_text("notes.txt is no picture that can be read")
    page.get_by_role("button", name="Example").click()
    expect(page.locator(".bars li")).to_have_count(10)
    expect(page.locator(".picture [role=alert]")).to_be_empty()
    page.locator("#with").select_option("1")
    expect(page.locator("#verdict")).to_have_text("Both say the same.")
    assert "version=*&version=1" in page.url.replace("%2A", "*")
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)


def test_a_review_is_answered_as_it_is_typed(page: Page, assert_accessible: Callable[[Page], None]) -> None:
    """Its words are marked with why. One that is too long is not sent, and stays when the page is loaded again."""
    page.goto("/models/sentiment_lstm/try")
    text = page.get_by_label("text")
    expect(page.locator(".bars li")).to_have_count(2)
    text.fill("")
    expect(page.locator(".says")).to_contain_text("as you type")
    text.press_sequentially(REVIEW)
    expect(page.locator(".bars li")).to_have_count(2)
    expect(page.locator("#code")).to_contain_text("superbly acted")
    expect(page.locator(".answer-sure")).to_contain_text("Right 95 times in 100: ")
    page.get_by_label("Why this answer?").check()
    marked = page.locator(".why-text .mark")
    expect(marked.first).to_be_visible()
    assert set(marked.evaluate_all("marks => marks.map(mark => mark.firstChild.data)")) <= set(REVIEW.split())
    assert_accessible(page)
    page.get_by_label("Why this answer?").uncheck()
    text.fill("x" * 100_000)
    expect(page.locator(".field-error")).to_contain_text("at most 20,000 characters; these are 100,000")
    expect(page.get_by_text(STALE)).to_be_visible()
    text.fill("a dull film")
    expect(page.locator("#code")).to_contain_text("a dull film")
    expect(page.get_by_text(STALE)).to_be_hidden()
    text.fill("x" * 100_000)
    expect(page.get_by_text(STALE)).to_be_visible()
    page.reload()
    expect(page.get_by_label("text")).to_have_value("a dull film")


def test_a_row_of_a_table_is_filled_in_by_name(page: Page, faults: Faults) -> None:
    """Names are text, whatever is in them; what is no number is said at its field, and what is wrong as JSON too."""
    faults.allow("400")
    page.goto("/models/wine/try")
    alcohol = page.get_by_label(COLUMNS["alcohol"], exact=True)
    expect(page.locator(".bars li")).to_have_count(3)
    expect(page.locator(".bars")).to_contain_text("B & <i>C</i>")
    alcohol.fill("strong")
    expect(page.locator(".field-error").first).to_contain_text("expected a number such as 3 or -0.5; received strong")
    expect(page.locator("#input-alert")).to_contain_text("expected a number")
    expect(page.get_by_text(STALE)).to_be_visible()
    alcohol.fill("13.2")
    expect(page.get_by_text(STALE)).to_be_hidden()
    expect(page.locator("#input-alert")).to_be_empty()
    expect(page.locator("#code")).to_contain_text('"instances":[{"')
    expect(page.locator("#code")).to_contain_text("13.2")
    page.get_by_label("As JSON").check()
    page.get_by_label("Body of the request").fill('{"instances": [{"hue": "blue"}]}')
    expect(page.locator(".answer [role=alert]").first).to_contain_text("instances")
    assert page.title() != "run"


def test_what_was_typed_is_answered_when_the_gateway_is_back(
    gateway: OwnGateway, open_page: OpenPage, faults: Faults
) -> None:
    """Nobody types it again."""
    faults.allow(*AWAY)
    page = open_page(base_url=gateway.url)
    page.clock.install()
    page.goto("/models/sentiment_lstm/try")
    expect(page.locator(".bars li")).to_have_count(2)
    gateway.stop()
    page.get_by_label("text").fill("an awful film")
    expect(page.locator(".answer [role=alert]").first).to_contain_text("Trying again in")
    gateway.start()
    page.clock.fast_forward(LONG_MS)
    expect(page.locator(".answer [role=alert]").first).to_be_empty()
    expect(page.get_by_label("text")).to_have_value("an awful film")


def test_answers_are_labelled_by_one_key_each(page: Page, system: System) -> None:
    """One label is taken back before it is sent; those at random make an estimate; then there is nothing to do."""
    for number in range(SENT):
        pixels = [[[float((17 * number + row * column) % 255)] for column in range(28)] for row in range(28)]
        body = {"instances": [pixels]}
        http.post(f"{system.url}/v1/models/mnist_mlp:predict", json=body).raise_for_status()
    url = f"{system.url}/api/models/mnist_mlp/answers"
    wait_until(lambda: http.get(url).json()["unlabelled"] >= SENT, 30, "what was captured")
    waiting = len(http.get(f"{url}?order=random&limit=50").json()["answers"])
    page.clock.install()
    page.goto("/models/mnist_mlp/label")
    expect(page.locator("#item img")).to_be_visible()
    page.keyboard.press("3")
    page.keyboard.press("Backspace")
    expect(page.locator("#progress")).to_contain_text("0 on this page")
    for _ in range(waiting):
        page.keyboard.press("3")
    page.clock.fast_forward(LONG_MS)  # labels can be taken back for some seconds
    expect(page.locator("#item")).to_contain_text("Nothing to label")
    expect(page.locator("#progress")).to_contain_text(f"from {waiting} labels at random")
    page.get_by_role("button", name="Unsure").click()
    page.get_by_label("Show what the model said").check()
    expect(page.locator(".said")).to_contain_text("version 1:")
    assert http.get(url).json()["labels"]["random"] == waiting
