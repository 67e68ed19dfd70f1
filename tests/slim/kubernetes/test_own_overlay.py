"""An overlay of somebody's own, as docs/deploy.md has it: images from a registry, settings, another component."""

import os
from pathlib import Path

import yaml

from tests.support.kubernetes import FOLDER, Resource, list_containers, list_pods, render

REGISTRY = "registry.example/modelyard"


def make(folder: Path, **settings: str) -> tuple[Resource, ...]:
    """Rendered, with these settings in addition."""
    overlay = {
        "resources": [os.path.relpath(FOLDER / "overlays" / "gke", folder)],
        "images": [
            {"name": f"modelyard/{each}", "newName": f"{REGISTRY}/{each}", "newTag": "7"}
            for each in ("gateway", "trainer")
        ],
    }
    if settings:
        literals = [f"{name}={value}" for name, value in settings.items()]
        generator = {"name": "settings", "namespace": "modelyard", "behavior": "merge", "literals": literals}
        overlay["configMapGenerator"] = [generator]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return render(folder)


def name_settings(resources: tuple[Resource, ...]) -> set[str]:
    """Names of the settings that pods use."""
    return {
        each["configMapRef"]["name"]
        for _, pod in list_pods(resources)
        for container in list_containers(pod)
        for each in container.get("envFrom", ())
        if each["configMapRef"]["name"].startswith("settings-")
    }


def test_images_come_from_where_it_says(tmp_path: Path) -> None:
    """All of ours, that of the migration too."""
    ours = {
        container["image"]
        for _, pod in list_pods(make(tmp_path))
        for container in list_containers(pod)
        if "modelyard" in container["image"]
    }
    assert ours == {f"{REGISTRY}/gateway:7", f"{REGISTRY}/trainer:7"}


def test_a_setting_rolls_out_who_uses_it_and_back_again(tmp_path: Path) -> None:
    """Its name is that of its content: another value is another name, and the old value the old name."""
    before = name_settings(make(tmp_path))
    changed = make(tmp_path, MODELYARD_LOG_LEVEL="debug", MODELYARD_CACHED_MODELS="a")
    after = name_settings(changed)
    assert (len(before), len(after)) == (1, 1)
    assert before != after
    assert name_settings(make(tmp_path)) == before
    (data,) = (each["data"] for each in changed if each["kind"] == "ConfigMap" and each["metadata"]["name"] in after)
    assert (data["MODELYARD_LOG_LEVEL"], data["MODELYARD_CACHED_MODELS"]) == ("debug", "a")
    assert data["MODELYARD_SERVING"] == "dns:modelserver:8500"
