"""Tests that are started in the background, where a shell ignores SIGINT, start processes that do not."""

import subprocess
import sys

from tests.support.repository import ROOT
from tests.support.signals import NUMBERS

CHILD = f"import signal; print([signal.getsignal(number) is signal.SIG_IGN for number in {[*map(int, NUMBERS)]}])"
RUNNER = f"""
import os, signal, subprocess, sys
from tests.support.signals import NUMBERS, keep_from_children

def start():
    subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)

start()
keep_from_children()
start()
for number in NUMBERS:
    os.kill(os.getpid(), number)
"""


def test_what_a_test_starts_ignores_no_signal_though_the_test_does() -> None:
    """Before and after: children ignore all of them, then none; the tests themselves go on ignoring them."""
    ignore = f"trap '' {' '.join(str(int(number)) for number in NUMBERS)}"
    command = ["sh", "-c", f'{ignore}; exec "$@"', "sh", sys.executable, "-c", RUNNER]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [str([True] * len(NUMBERS)), str([False] * len(NUMBERS))]
