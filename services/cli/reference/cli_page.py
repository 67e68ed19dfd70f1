"""The page of the command line, as Typer's own tool writes it."""

import html
import os
import subprocess
import sys

TITLE = "# Command line\n"
HEAD = f"{TITLE}\nWritten by `make docs` from the code.\n"
TYPER = ("-m", "typer", "modelyard.services.cli.main", "utils", "docs", "--name", "modelyard", "--title", TITLE[2:-1])


def page() -> str:
    """The whole page."""
    written = subprocess.run(
        [sys.executable, *TYPER], capture_output=True, text=True, check=True, env=clean_environment()
    ).stdout
    return HEAD + html.unescape(written).removeprefix(TITLE).rstrip() + "\n"


def clean_environment() -> dict[str, str]:
    """The environment without our settings, which would be written as defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
