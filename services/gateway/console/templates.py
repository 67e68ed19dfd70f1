"""Writes pages: Jinja's templates, what all of them know, and how values are shown.

Everything is escaped; a name that a template uses and nobody gave is an error.
"""

import importlib.metadata
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import orjson
from flask import Response

from modelyard.pipeline import progress
from modelyard.services.gateway.auth.permissions import Permission
from modelyard.services.gateway.auth.principal import Principal, current_principal
from modelyard.services.gateway.console.assets import TEMPLATES, Assets

if TYPE_CHECKING:
    from jinja2 import Environment

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script or style, and nothing from elsewhere."""
TONES: Mapping[str, str] = {
    "succeeded": "good",
    "available": "good",
    "stable": "good",
    "passed": "good",
    "active": "good",
    "running": "busy",
    "publishing": "busy",
    "loading": "busy",
    "canary": "busy",
    "shadow": "busy",
    "queued": "",
    "rejected": "warn",
    "cancelled": "",
    "failed": "bad",
    "damaged": "bad",
    "revoked": "bad",
    "expired": "warn",
}
"""Colour of a state's badge, by its name in lower case."""
NOW_S = 5
NOTHING = "\N{EN DASH}"
"""Stands for a value that is not there."""
SAID_TWICE = re.compile(r"\b(?:http (?=[\d\[])|job (?=job-)|search (?=search-))")
"""In the names of those who did something: what their ids and addresses say already."""
LEAST, MOST = 1e-4, 1e6
"""Between these, numbers are shown without an exponent."""
KIB = 1024


class Item(NamedTuple):
    """A page that the navigation leads to."""

    name: str
    path: str
    title: str
    needed: Permission


NAVIGATION = (
    Item("home", "/", "Home", Permission.READ_MODELS),
    Item("models", "/models", "Models", Permission.READ_MODELS),
    Item("jobs", "/jobs", "Jobs", Permission.READ),
    Item("queue", "/queue", "Queue", Permission.READ),
    Item("searches", "/searches", "Searches", Permission.READ),
    Item("live", "/live", "Live", Permission.READ_METRICS),
    Item("keys", "/keys", "Keys", Permission.MANAGE_KEYS),
    Item("audit", "/audit", "Audit", Permission.READ_AUDIT),
)


class Permitted:
    """In templates, ``may.TRAIN``: whether the principal has the permission of this name."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def __getattr__(self, name: str) -> bool:
        return self._principal.may(Permission[name])


class Pages:
    """Renders templates for one application."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    def render(
        self, template: str, *, current: str = "", module: str = "", status: int = 200, **values: Any
    ) -> Response:
        """A page.

        Args:
            template: file in ``services/console/templates``.
            current: the navigation's item that it belongs to.
            module: its own module, ``js/pages/<module>.js``.
        """
        principal = current_principal()
        text = (
            make_environment(self._assets)
            .get_template(template)
            .render(
                page=template.removesuffix(".html"),
                status=status,
                current=current,
                module=module,
                navigation=[item for item in NAVIGATION if principal.may(item.needed)],
                principal=principal,
                may=Permitted(principal),
                csrf_token=principal.session.csrf_token if principal.session else "",
                release=importlib.metadata.version("modelyard"),
                **values,
            )
        )
        response = Response(text, status, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = CONTENT_POLICY
        return response


@cache
def make_environment(assets: Assets) -> "Environment":
    """Templates, each compiled at its first use: one environment for all applications of the process."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # the first page pays for it

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"asset": assets.address, "link": link}
    environment.filters |= {
        "actor": format_actor,
        "ago": format_ago,
        "bytes": format_bytes,
        "duration": format_duration,
        "json": to_json,
        "number": format_number,
        "percent": format_percent,
        "tone": lambda state: TONES.get(str(state).lower(), ""),
    }
    return environment


def link(*parts: object) -> str:
    """The path of its parts, each encoded: names hold any character but ``/`` and ``:``."""
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def to_json(value: Any) -> str:
    """JSON, for an attribute that a module reads; the template escapes it."""
    return orjson.dumps(value).decode()


def parse_time(moment: str | datetime) -> datetime:
    """A moment; one without a zone is in UTC."""
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def format_ago(moment: str | datetime) -> str:
    """How long ago, or in how long."""
    seconds = (parse_time(moment) - datetime.now(UTC)).total_seconds()
    if abs(seconds) < NOW_S:
        return "now"
    unit, size = next(found for found in progress.UNITS if abs(seconds) >= found[1])
    count = f"{int(abs(seconds) / size)} {unit}"
    return f"in {count}" if seconds > 0 else f"{count} ago"


def format_duration(seconds: float | None) -> str:
    """The two largest units: "2 h 15 min"."""
    return NOTHING if seconds is None else progress.format_duration(seconds)


def format_number(value: float | None) -> str:
    """Four significant digits, without an exponent where that can be read."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if float(value).is_integer() and abs(value) < 1e15:  # noqa: PLR2004  # exact
        return f"{int(value):,}"
    return f"{value:.4g}" if LEAST <= abs(value) < MOST else f"{value:.2e}"


def format_actor(name: str) -> str:
    """Who did something: "job-1 of 127.0.0.1" for "job job-1 of http 127.0.0.1"."""
    return SAID_TWICE.sub("", name)


def format_percent(share: float | None, digits: int = 1) -> str:
    """Of one: 0.25 is "25.0 %"."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def format_bytes(size: float | None) -> str:
    if size is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < KIB:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= KIB
    return f"{size:.1f} TiB"
