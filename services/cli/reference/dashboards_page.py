"""The page of dashboards: what each panel shows, and what a running system had for it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import modelyard
from modelyard.services.cli.reference.dashboards import Dashboard, read_dashboards

RESULTS = Path(modelyard.__file__).parent.parent / "benchmarks" / "results" / "dashboards.json"
HEAD = """# Dashboards

Written by `make docs` from `deploy/grafana/dashboards.yml`, as are the JSON files beside it, in Grafana's classic model
(schema 41: Grafana 11 and newer). How Grafana gets them: [deploy](deploy.md#what-to-watch); the metrics:
[metrics](metrics.md); what somebody has to be told of: [alerts](alerts.md).
"""
MEASURED = """**Series**: how many Prometheus {prometheus} found for a panel, by `python -m benchmarks.dashboards`.
It scraped a system that really ran, by `deploy/prometheus/prometheus.yml` with other addresses, for {minutes:.0f}
minutes: predictions, right ones and wrong ones, at {rate:.0f} a second, feedback, trainings, a canary, a machine that
follows a bucket, and the faults of the table at the end. 0: there was nothing to show, and why. Grafana itself has not
been run with these files: their queries are tried, how they look is not.
"""
ALERTS = """
## Alerts that were seen to fire

In the same run, by Prometheus' own API, with the rules as they are shipped, after each was really caused: processes,
files and connections were broken. Where a rule waits for an hour or a week, a date was set back. `promtool test rules`
makes all of them fire from invented series, too.

| alert | caused by |
|---|---|"""


def page() -> str:
    """The whole page."""
    found = json.loads(RESULTS.read_text())
    parts = [HEAD, MEASURED.format(**found)]
    for dashboard in read_dashboards():
        parts += describe(dashboard, found["series"])
    parts += [ALERTS, *(f"| {name} | {cause} |" for name, cause in found["alerts"].items()), ""]
    return "\n".join(parts)


def describe(dashboard: Dashboard, series: Mapping[str, Any]) -> Iterator[str]:
    """A table of its panels."""
    yield f"## {dashboard.title.partition(' / ')[2]}\n\n{dashboard.about}"
    row, known = "", series.get(dashboard.name, {})
    for panel in dashboard.panels:
        if panel.row != row:
            row = panel.row
            yield f"\n### {row}\n\n| panel | it shows | series |\n|---|---|---|"
        yield f"| {panel.title} | {panel.meaning} | {known.get(panel.title, 'not asked')} |"
    yield ""
