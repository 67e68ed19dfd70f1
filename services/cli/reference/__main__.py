"""Writes the reference pages and Grafana's dashboards, or checks that they are up to date.

python -m modelyard.services.cli.reference docs [--check]
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from modelyard.services.cli.reference import (
    alerts_page,
    cli_page,
    dashboards,
    dashboards_page,
    metrics_page,
    permissions_page,
    settings_page,
    spec_page,
)

PAGES: Mapping[str, Callable[[], str]] = {
    "alerts.md": alerts_page.page,
    "cli.md": cli_page.page,
    "dashboards.md": dashboards_page.page,
    "metrics.md": metrics_page.page,
    "permissions.md": permissions_page.page,
    "settings.md": settings_page.page,
    "spec.md": spec_page.page,
}


def list_files(folder: Path) -> dict[Path, str]:
    """Everything that is written, with its content: the pages, and the dashboards."""
    pages = {folder / name: page() for name, page in PAGES.items()}
    return pages | {
        dashboards.FOLDER / f"{each.name}.json": dashboards.render(each) for each in dashboards.read_dashboards()
    }


def stale_pages(folder: Path) -> list[str]:
    """Names of the files that say something else than the code."""
    return [path.name for path, content in list_files(folder).items() if read_page(path) != content]


def read_page(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def write_pages(folder: Path) -> None:
    for path, content in list_files(folder).items():
        path.write_text(content)


def main(folder: Path, *, check: bool) -> None:
    if not check:
        write_pages(folder)
    elif stale := stale_pages(folder):
        sys.exit(f"not as the code is: {', '.join(stale)} in {folder} or deploy/grafana; `make docs` writes them")


if __name__ == "__main__":
    main(Path(sys.argv[1]), check="--check" in sys.argv[2:])
