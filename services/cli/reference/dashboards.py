"""Grafana's dashboards as JSON, from ``deploy/grafana/dashboards.yml``.

The classic model (grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model), which files
and the sidecar of Grafana's chart provide in every release that is maintained. Each migrates it to its own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import modelyard

FOLDER = Path(modelyard.__file__).parent.parent / "deploy" / "grafana"
SCHEMA_VERSION = 41
"""Of Grafana 11 and newer."""
COLUMNS, STAT_WIDTH, WIDTH, HEIGHT, STAT_HEIGHT = 24, 6, 8, 8, 5
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
"""Chosen above the dashboard: the first Prometheus, unless somebody chooses another."""
MODELS = "label_values(modelyard_gateway_version_requests_total, model)"
COLOURS = ("green", "orange", "red")
LEGEND = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]}
REDUCE = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "timeseries": {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {
        "reduceOptions": REDUCE,
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
    },
    "bargauge": {
        "reduceOptions": REDUCE,
        "displayMode": "gradient",
        "orientation": "horizontal",
        "valueMode": "color",
        "showUnfilled": True,
    },
    "table": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": ""}},
}
LINES = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "auto", "spanNulls": False}
HIDDEN = ("Time", "__name__", "instance", "job", "alertstate")
"""Columns of tables that say nothing."""


@dataclass(frozen=True)
class Panel:
    """One panel, and the row that it is in."""

    row: str
    title: str
    kind: str
    unit: str
    meaning: str
    queries: Mapping[str, str]
    """By the name of each series, in Grafana's form."""
    limits: Sequence[float]
    """Above them it is orange, and red."""
    width: int


@dataclass(frozen=True)
class Dashboard:
    """One dashboard."""

    name: str
    title: str
    about: str
    has_models: bool
    panels: tuple[Panel, ...]


def read_dashboards() -> tuple[Dashboard, ...]:
    """All of them."""
    found = yaml.safe_load((FOLDER / "dashboards.yml").read_text())
    return tuple(
        Dashboard(name, given["title"], given["about"], given["models"], tuple(read_panels(given["rows"])))
        for name, given in found.items()
    )


def read_panels(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Panel]:
    for row, panels in rows.items():
        for given in panels:
            kind = given.get("kind", "timeseries")
            width = given.get("width", STAT_WIDTH if kind == "stat" else WIDTH)
            unit, limits = given.get("unit", "short"), given.get("limits", ())
            yield Panel(row, given["title"], kind, unit, given["meaning"], given["queries"], limits, width)


def render(dashboard: Dashboard) -> str:
    """Its JSON."""
    found = {
        "uid": f"modelyard-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["modelyard"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [render_links()],
        "templating": {"list": list(render_variables(dashboard))},
        "annotations": {"list": []},
        "panels": list(render_panels(dashboard)),
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def render_links() -> dict[str, Any]:
    """To all others."""
    return {
        "type": "dashboards",
        "title": "Modelyard",
        "tags": ["modelyard"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }


def render_variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    if dashboard.has_models:
        yield {
            "name": "model",
            "label": "Model",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": MODELS, "refId": "model"},
            "definition": MODELS,
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
            "hide": 0,
        }


def render_panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Rows, each with its panels from left to right."""
    x, y, height, row = 0, 0, 0, ""
    for number, panel in enumerate(dashboard.panels, 1):
        if panel.row != row or x + panel.width > COLUMNS:
            x, y = 0, y + height
        if panel.row != row:
            row = panel.row
            place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            yield {"id": 100 + number, "type": "row", "title": row, "collapsed": False, "gridPos": place, "panels": []}
            y += 1
        height = STAT_HEIGHT if panel.kind == "stat" else HEIGHT
        yield render_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": height})
        x += panel.width


def render_panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    found = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [render_target(panel.kind, *entry) for entry in zip("ABCDEF", panel.queries.items(), strict=False)],
        "fieldConfig": {"defaults": render_defaults(panel), "overrides": []},
        "options": OPTIONS[panel.kind],
    }
    if panel.kind == "table":
        hidden = {"excludeByName": dict.fromkeys(HIDDEN, True)}
        found["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": hidden}]
    return found


def render_target(kind: str, ref: str, query: tuple[str, str]) -> dict[str, Any]:
    legend, expression = query
    instant = kind in ("table", "bargauge")
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression,
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
        "format": "table" if kind == "table" else "time_series",
    }


def render_defaults(panel: Panel) -> dict[str, Any]:
    """Unit, colours, and the limits above which they change."""
    steps = zip(COLOURS, (None, *panel.limits), strict=False)
    found: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"color": colour, "value": value} for colour, value in steps]},
    }
    if panel.kind == "timeseries":
        shown = {"thresholdsStyle": {"mode": "line" if panel.limits else "off"}}
        found["custom"] = LINES | shown
    return found
