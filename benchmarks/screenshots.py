"""Pictures of every page of the console: light, dark, on a phone, and with nothing to show yet; into docs/images.

    python -m benchmarks.screenshots [--url URL] [--empty-url URL] [--page NAME ...]

Without addresses, systems are started for it, trained on what ships with the project and filled (some minutes).
Needs Chromium, or the path of one in CHROMIUM.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.console.system import empty_system, full_system
from tests.support.chromium import launch, require_chromium
from tests.support.console_pages import NO_PLACES, PAGES, Places, find_places

FOLDER = Path(__file__).parents[1] / "docs" / "images"
COLOURS, COMMON = 256, 128
MAX_BYTES = 3_000_000
QUIET_MS = 1500
"""What a page needs to draw its charts when nothing is loaded any more."""
LIVE_MS = 16_000
"""What the page of what happens now needs for lines that can be seen: send requests meanwhile."""
ENDS: Mapping[str, str] = {"version": "#errors"}
"""Where the wide picture of a page ends, whatever the look's largest height, if not at its end."""
ONE_FOR_ALL = ("search", "job", "compare", "keys")
"""Pages of something that is there, or that look the same with nothing to show: no empty picture."""


@dataclass(frozen=True)
class Look:
    """One way to look at a page."""

    name: str
    width: int
    height: int
    dark: bool = False
    max_height: int = 1300
    """Of the picture; what is below is left out."""


LIGHT = Look("light", 1280, 860)
PHONE_WIDTH, MARGIN = 390, 20
LOOKS = (LIGHT, Look("dark", 1280, 860, dark=True), Look("phone", 390, 844, max_height=1500))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a running system with something to look at")
    parser.add_argument("--empty-url", help="of a gateway over an empty store")
    parser.add_argument("--model", default="mnist_mlp", help="whose pages are shown")
    parser.add_argument("--bare-model", default="logistic", help="whose pages are shown empty")
    parser.add_argument("--page", action="append", choices=sorted(PAGES), help="only this one; may be repeated")
    asked = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    with ExitStack() as stack:
        browser = stack.enter_context(launch(require_chromium()))  # without one, nothing is trained
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        empty = asked.empty_url or stack.enter_context(empty_system(folder / "empty"))
        url = asked.url or stack.enter_context(full_system(folder / "full"))
        places, bare = find_places(url, asked.model), find_places(url, asked.bare_model)
        for name in asked.page or PAGES:
            for look in LOOKS:
                take(browser, url, places, name, look, f"{name}-{look.name}")
            if name in ONE_FOR_ALL:
                continue
            if not take(browser, empty, NO_PLACES, name, LIGHT, f"{name}-empty"):
                take(browser, url, bare, name, LIGHT, f"{name}-empty")
    size = sum(path.stat().st_size for path in FOLDER.glob("*.png"))
    print(f"{size / 1e6:.2f} MB in {FOLDER}")
    if size > MAX_BYTES:
        sys.exit(f"more than {MAX_BYTES / 1e6:.0f} MB")


def take(browser: Browser, url: str, places: Places, name: str, look: Look, file: str) -> bool:
    """One picture. False for a page of something that is not there; an earlier picture of it is removed."""
    path = FOLDER / f"{file}.png"
    context = browser.new_context(
        base_url=url,
        viewport={"width": look.width, "height": look.height},
        color_scheme="dark" if look.dark else "light",
        locale="en-GB",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.on("pageerror", lambda error: print(f"{file}: {error}"))
    answer = page.goto(PAGES[name](places))
    if answer is None or not answer.ok:
        path.unlink(missing_ok=True)
        print(f"{file}: left out, status {answer.status if answer else None}")
    else:
        if name in PREPARE and not file.endswith("-empty"):
            PREPARE[name](page)
        page.wait_for_timeout(QUIET_MS)
        end = ENDS.get(name) if look.width > PHONE_WIDTH else None
        height = find_end(page, end) if end else min(find_end(page, None), look.max_height)
        page.set_viewport_size({"width": look.width, "height": max(height, look.height)})
        page.wait_for_timeout(QUIET_MS / 3)
        path.write_bytes(compress(page.screenshot()))
        print(f"{file}: {path.stat().st_size / 1000:.0f} kB")
    context.close()
    return path.exists()


def ask_for_an_answer(page: Page) -> None:
    """Of the example, as there is nothing to see before."""
    page.get_by_role("button", name="Example").click()
    expect(page.locator(".answer[data-version]")).to_be_visible()


PREPARE: Mapping[str, Callable[[Page], None]] = {
    "try_it": ask_for_an_answer,
    "live": lambda page: page.wait_for_timeout(LIVE_MS),
}
"""What is done on a page before its picture is taken."""


def find_end(page: Page, selector: str | None) -> int:
    """Height of the picture in pixels: the page's, or down to the end of an element."""
    if selector and page.locator(selector).count():
        bottom = page.locator(selector).evaluate("(one) => one.getBoundingClientRect().bottom + scrollY")
        return round(float(bottom)) + MARGIN
    return int(page.evaluate("document.documentElement.scrollHeight"))


def compress(png: bytes) -> bytes:
    """The same picture in few colours: its commonest ones as they are, and the nearest of rare ones."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    pixels = np.asarray(image).reshape(-1, 3)
    colours, places, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    common = colours[np.argsort(-counts)[:COMMON]]
    rare = image.quantize(COLOURS - len(common), Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = np.concatenate([common, np.array(rare, np.uint8).reshape(-1, 3)])[:COLOURS]
    distances = ((colours[:, None].astype(np.int32) - palette[None]) ** 2).sum(-1)
    indices = distances.argmin(-1).astype(np.uint8)[places.reshape(image.height, image.width)]
    small = Image.fromarray(indices, "P")
    small.putpalette(palette.tobytes())
    written = io.BytesIO()
    small.save(written, "PNG", optimize=True)
    return written.getvalue()


if __name__ == "__main__":
    main()
