"""How model servers join calls on Kubernetes, in keeping with their CPU limit."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kubernetes import FOLDER, OVERLAYS, Resource, find, render, render_overlay
from tests.support.serving_files import BATCHING, ServingFile, parse_serving_file


def find_parts(resources: Iterable[Resource]) -> tuple[Any, ServingFile]:
    """The CPU limit of the model server, and the file that it mounts."""
    resources = tuple(resources)
    pod = find(resources, "Deployment", "modelserver")["spec"]["template"]["spec"]
    (name,) = (each["configMap"]["name"] for each in pod["volumes"] if each["name"] == "config")
    text = find(resources, "ConfigMap", name)["data"]["batching.txt"]
    return pod["containers"][0]["resources"]["limits"]["cpu"], parse_serving_file(text)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_overlay_mounts_the_file_for_its_limit(overlay: str) -> None:
    """Requests may be smaller: threads that wait cost nothing."""
    limit, mounted = find_parts(render_overlay(overlay))
    assert mounted.cpus == int(limit)


def test_an_overlay_can_have_a_file_of_its_own(tmp_path: Path) -> None:
    """As docs/deploy.md says."""
    (tmp_path / "batching.8.txt").write_text(BATCHING[1].read_text())
    own = {"name": "modelserver", "behavior": "merge", "files": ["batching.txt=batching.8.txt"]}
    overlay = os.path.relpath(FOLDER / "overlays/local", tmp_path)
    text = {"namespace": "modelyard", "resources": [overlay], "configMapGenerator": [own]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(text))
    _, mounted = find_parts(render(tmp_path))
    assert mounted.cpus == 1
