"""Grafana's dashboards on Kubernetes."""

import json
import os
from pathlib import Path

import kubernetes_validate
import yaml

from modelyard.services.cli.reference.dashboards import read_dashboards
from tests.support.kubernetes import FOLDER, render

ANNOTATION_BYTES = 256 * 1024
"""Limit of a resource's annotations: `kubectl apply` keeps all of it in one (kubernetes.io/docs, "Annotations")."""


def test_each_dashboard_is_a_config_map_that_grafanas_sidecar_finds(tmp_path: Path) -> None:
    """By its label, in the namespace of everything else; small enough to be applied."""
    component = os.path.relpath(FOLDER / "components" / "dashboards", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"components": [component]}))
    found = render(tmp_path)
    titles = set()
    for each in found:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
        assert (each["kind"], each["metadata"]["namespace"]) == ("ConfigMap", "modelyard")
        assert each["metadata"]["labels"] == {"grafana_dashboard": "1"}
        assert len(json.dumps(each)) < ANNOTATION_BYTES
        ((name, content),) = each["data"].items()
        assert name.endswith(".json")
        titles.add(json.loads(content)["title"])
    assert titles == {dashboard.title for dashboard in read_dashboards()}
