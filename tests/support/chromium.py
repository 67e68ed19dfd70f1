"""Chromium, as tests and pictures of the console drive it."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")


def find_chromium() -> str | None:
    """Of the variable CHROMIUM, or where Debian has it; the one without windows takes a third of the CPU time."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)


def require_chromium() -> str:
    """As ``find_chromium``; ends a program of ours without one."""
    return find_chromium() or sys.exit("no Chromium: set CHROMIUM to its path")


@contextmanager
def launch(path: str) -> Iterator[Browser]:
    """Runs until the end of the block."""
    as_root = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=as_root)
        yield running
        running.close()
