"""How long a page of the console takes until it can be used, and what it loads, with nothing cached.

    python -m benchmarks.console URL [--runs 20] [--model mnist_mlp]

Ready is the end of DOMContentLoaded, after which modules have run: what is on the page can be read and used. Bytes are
those of answers as they were sent, headers included.
"""

import argparse
import statistics
from dataclasses import dataclass

from playwright.sync_api import Browser, Response

from tests.support.chromium import launch, require_chromium
from tests.support.console_pages import PAGES, Places, find_places

MAX_BYTES, MAX_READY_MS = 250_000, 1000.0


@dataclass(frozen=True)
class Load:
    """One page, loaded as at the first visit."""

    size: int
    requests: int
    ready_ms: float
    painted_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.console", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--model", default="mnist_mlp")
    asked = parser.parse_args()
    places = find_places(asked.url, asked.model)
    print("| page | kB | requests | ready, median | ready, 95 % | first paint, median |")
    print("|---|---:|---:|---:|---:|---:|")
    with launch(require_chromium()) as browser:
        for name in PAGES:
            print(row(name, [load(browser, asked.url, places, name) for _ in range(asked.runs)]))


def row(name: str, loads: list[Load]) -> str:
    ready = sorted(one.ready_ms for one in loads)
    slow = ready[min(len(ready) - 1, round(0.95 * len(ready)))]
    painted = statistics.median(one.painted_ms for one in loads)
    size = max(one.size for one in loads)
    over = " (over)" if size > MAX_BYTES or slow > MAX_READY_MS else ""
    times = f"{statistics.median(ready):.0f} ms | {slow:.0f} ms | {painted:.0f} ms"
    return f"| {name}{over} | {size / 1000:.0f} | {loads[0].requests} | {times} |"


def load(browser: Browser, url: str, places: Places, name: str) -> Load:
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 860})
    page = context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108  # Playwright marks what it is given
    page.goto(PAGES[name](places), wait_until="load")
    ready, painted = page.evaluate(
        "[performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd,"
        " performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0]"
    )
    page.wait_for_function("!document.querySelector('main').dataset.module || document.querySelector('main').innerText")
    answers = [answer for answer in answers if answer.url.startswith(url)]
    size = sum(
        sent.request.sizes()["responseBodySize"] + sent.request.sizes()["responseHeadersSize"] for sent in answers
    )
    context.close()
    return Load(size, len(answers), ready, painted)


if __name__ == "__main__":
    main()
