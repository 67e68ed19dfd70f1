"""Grafana's dashboards: of metrics and labels that exist, as Prometheus' own parser reads their queries.

Grafana itself is not run here. What its documentation says of the files is held against them.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from modelyard.services.cli.reference.dashboards import FOLDER, Panel, read_dashboards
from modelyard.services.cli.reference.metrics_page import list_metrics, name_series
from tests.support.repository import ROOT

DASHBOARDS = read_dashboards()
PANELS = [(dashboard.name, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
NAME = re.compile(r"(?<![\w:$])(:?(?:modelyard|tensorflow)[\w:]*|up|ALERTS)\b(?=[\s{\[)]|$)")
GROUPED = re.compile(r"\b(?:by|on|group_left|ignoring|without) \(([^)]*)\)")
MATCHED = re.compile(r'(\w+)(?:=~|!~|!=|=)"')
LEGEND = re.compile(r"{{(\w+)}}")
SUFFIX = re.compile(r"_(bucket|count|sum)$")
ANYWHERE = {"job", "instance", "le", "worker"}
"""Labels that Prometheus adds, that histograms have, and that gateways have which share a port."""
FOREIGN = {
    # Prometheus' own.
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity"},
}
UNSEEN = {
    "modelyard_disk_bytes",  # with modelyard_disk_free_bytes, in one query
    # TensorFlow Serving's, for dashboards of others.
    ":tensorflow:serving:request_example_counts",
    ":tensorflow:serving:request_example_count_total",
    ":tensorflow:serving:batching_session:padding_size",
    ":tensorflow:serving:batching_session:wrapped_run_count",
}


def list_known() -> dict[str, set[str]]:
    """Labels by metric."""
    found = {name_series(family): set(labels) for metrics in list_metrics().values() for family, labels in metrics}
    for process in ("gateway", "scheduler", "trainer", "sync", "modelserver"):
        registry = CollectorRegistry()
        ProcessCollector(namespace=f"modelyard_{process}", registry=registry)
        found |= {name_series(family): set() for family in registry.collect()}
    return found | FOREIGN


KNOWN = list_known()


def list_used(expression: str) -> set[str]:
    names = NAME.findall(expression)
    return {name if name in KNOWN else SUFFIX.sub("", name) for name in names}


def list_labels(expression: str) -> Iterator[str]:
    for group in GROUPED.findall(expression):
        yield from filter(None, map(str.strip, group.split(",")))
    yield from MATCHED.findall(expression)


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=[f"{name}-{panel.title}" for name, panel in PANELS])
def test_a_panel_is_of_metrics_and_labels_that_exist(name: str, panel: Panel) -> None:
    """A query about another name would show nothing, for ever."""
    del name
    assert panel.meaning.endswith(".")
    for legend, expression in panel.queries.items():
        used = list_used(expression)
        assert used
        assert used <= set(KNOWN), expression
        labels = set().union(*(KNOWN[each] for each in used)) | ANYWHERE
        assert set(list_labels(expression)) | set(LEGEND.findall(legend)) <= labels, expression


def test_every_metric_is_on_a_dashboard() -> None:
    """What nobody looks at need not be measured."""
    shown = {used for _, panel in PANELS for expression in panel.queries.values() for used in list_used(expression)}
    ours = {name_series(family) for metrics in list_metrics().values() for family, _ in metrics}
    assert ours - shown <= UNSEEN


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool: it is in Debian's package prometheus"
)
def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    """As rules, with Grafana's variables replaced."""
    expressions = [expression for _, panel in PANELS for expression in panel.queries.values()]
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$model", ".*")}
        for number, expression in enumerate(expressions)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = ["promtool", "check", "rules", str(tmp_path / "rules.yml")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert not any("$" in rule["expr"] for rule in rules)


@pytest.mark.parametrize("name", [dashboard.name for dashboard in DASHBOARDS])
def test_the_json_is_a_dashboard_of_grafanas_classic_model(name: str) -> None:
    """Ids are unique, panels do not lie on each other, a chosen source of data, and no id of one installation."""
    found = json.loads((FOLDER / f"{name}.json").read_text())
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time", "tags"} <= set(found)
    assert 8 <= len(found["uid"]) <= 40
    assert "id" not in found
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        cells = list_cells(panel["gridPos"])
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
    for panel in (panel for panel in panels if panel["type"] != "row"):
        targets = panel["targets"]
        assert {target["datasource"]["uid"] for target in targets} | {panel["datasource"]["uid"]} == {"${datasource}"}
        assert len({target["refId"] for target in targets}) == len(targets)
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
    variables = {variable["name"] for variable in found["templating"]["list"]}
    asked = set(re.findall(r"\$(\w+)", json.dumps([panel.get("targets") for panel in panels]))) - {"__rate_interval"}
    assert asked <= variables


def list_cells(place: dict[str, int]) -> set[tuple[int, int]]:
    """Of Grafana's grid of 24 columns."""
    assert place["x"] + place["w"] <= 24
    xs, ys = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return {(x, y) for x in xs for y in ys}


def test_grafana_is_given_the_files() -> None:
    """By compose from the folder that it is told of, with the only source of data; on Kubernetes by their label."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.grafana.yml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    provisioning = ROOT / mounts_inverse(mounts)["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/modelyard.yml").read_text())["providers"]
    assert ROOT / mounts_inverse(mounts)[provider["options"]["path"]] == ROOT / "deploy/grafana"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"]
    scraping = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    made = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["configMapGenerator"]
    assert {file for each in made for file in each["files"]} == {f"{each.name}.json" for each in DASHBOARDS}


def mounts_inverse(mounts: dict[str, str]) -> dict[str, str]:
    return {inside: outside for outside, inside in mounts.items()}
