"""Alert rules: of metrics that exist, with what to do, and each shown to fire by Prometheus' own tool."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from modelyard.services.cli.reference.metrics_page import list_metrics, name_series
from tests.support.repository import ROOT

FOLDER = ROOT / "deploy/prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
TESTS = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
SUFFIX = re.compile(r"_(bucket|count|sum)$")


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_is_of_metrics_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    """A rule about a metric of another name would never fire."""
    known = {name_series(family) for metrics in list_metrics().values() for family, _ in metrics}
    used = {SUFFIX.sub("", name) for name in re.findall(r"modelyard_\w+", rule["expr"])}
    assert used <= known
    assert used or rule["expr"].startswith("up{")
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert all(rule["annotations"][name].endswith(".") for name in ("summary", "meaning", "action"))


def test_each_alert_is_made_to_fire() -> None:
    """And is silent in the case where all is well, whose series have every metric that is used."""
    assert {rule["alert"] for rule in RULES} == {test["name"] for test in TESTS[1:]}
    healthy = " ".join(series["series"] for series in TESTS[0]["input_series"])
    used = {name for rule in RULES for name in re.findall(r"modelyard_\w+", rule["expr"])}
    silent = {"modelyard_gateway_failed_versions", "modelyard_left_out_versions"}  # there are none where all is well
    assert {name for name in used if name not in healthy} == silent


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool: it is in Debian's package prometheus"
)
@pytest.mark.parametrize(
    "command", ["check config --syntax-only prometheus.yml", "check rules alerts.yml", "test rules alerts_test.yml"]
)
def test_prometheus_takes_them(command: str) -> None:
    """Its own tool reads the files, and runs the cases."""
    found = subprocess.run(["promtool", *command.split()], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
