"""Time from pen up to the drawn answer, in Chromium before a running gateway.

    python -m benchmarks.drawing --url http://127.0.0.1:8080 --model mnist_cnn

Each stroke is drawn by mouse events as a person would draw it; the time runs from the browser's ``pointerup`` to the
frame after the answer's bars are in the page. Nothing of it is captured.
"""

import argparse
import statistics
from typing import Any

from playwright.sync_api import Page

from tests.support.chromium import launch, require_chromium

SHAPES = (
    ((80, 60), (200, 60), (130, 230)),
    ((90, 60), (150, 45), (195, 80), (150, 130), (205, 185), (150, 235), (80, 215)),
    ((140, 40), (140, 240)),
    ((140, 45), (75, 140), (140, 235), (205, 140), (140, 45)),
    ((190, 60), (110, 70), (100, 130), (180, 140), (190, 200), (100, 230)),
)
"""A 7, a 3, a 1, a 0 and a 5, in pixels of a pad of 280."""
PAD = 280
WATCH = """() => {
  window.times = [];
  let [raised, asked] = [null, null];
  document.querySelector('canvas.pad').addEventListener('pointerup', (event) => {
    [raised, asked] = [event.timeStamp, null];
  }, true);
  document.addEventListener('asked', (event) => { if (raised !== null) asked ??= event.detail; });
  document.addEventListener('answered', (event) => {
    if (raised === null || asked === null || event.detail < asked) return;
    const since = raised;
    raised = null;
    requestAnimationFrame(() => setTimeout(() => window.times.push(performance.now() - since)));
  });
}"""
"""Only the answer to the whole drawing counts. A task after the next frame runs when that has been drawn."""


def main() -> None:
    """Prints median and 95th percentile in ms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--model", default="mnist_cnn")
    parser.add_argument("--strokes", type=int, default=60)
    given = parser.parse_args()
    with launch(require_chromium()) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{given.url}/models/{given.model}/try")
        page.locator("canvas.pad").wait_for()
        page.evaluate(WATCH)
        times = [draw(page, number) for number in range(given.strokes + 3)][3:]  # the first ones warm up
    times.sort()
    p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
    print(f"{len(times)} strokes: median {statistics.median(times):.1f} ms, p95 {p95:.1f} ms, max {times[-1]:.1f} ms")


def draw(page: Page, number: int) -> float:
    """Draws one stroke on an empty pad; returns ms from pen up to the drawn answer."""
    clear = page.get_by_role("button", name="Clear")
    if clear.is_enabled():
        clear.click()
    box: Any = page.locator("canvas.pad").bounding_box()
    scale = box["width"] / PAD
    points = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in SHAPES[number % len(SHAPES)]]
    known = page.evaluate("window.times.length")
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()
    page.wait_for_function("known => window.times.length > known", arg=known)
    return float(page.evaluate("window.times.at(-1)"))


if __name__ == "__main__":
    main()
