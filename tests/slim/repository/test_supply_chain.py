"""What images are made of: bills of materials, images of others by digest, labels; and the bucket's compose file."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard.services.sync.settings import SyncSettings
from tests.slim.repository.test_compose import MAIN, SERVING, read
from tests.support.repository import ROOT

UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
BUCKET = ROOT / "deploy" / "compose.bucket.yml"
PIN = ROOT / "deploy" / "pin-images"
DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGES = ("gateway", "trainer", "modelserver")
needs_uv = pytest.mark.skipif(not Path(UV).exists(), reason="uv is not here")


# --- bills of materials -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("sbom")
    command = [sys.executable, str(ROOT / "deploy" / "sbom.py"), str(out), "--uv", UV, "--revision", "abc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: json.loads((out / f"{name}.cdx.json").read_text()) for name in IMAGES}


def list_names(bill: dict[str, Any]) -> set[str]:
    return {each["name"] for each in bill["components"]}


@needs_uv
def test_each_image_has_a_bill_of_what_its_dockerfile_installs(bills: dict[str, Any]) -> None:
    """The trainer computes; the gateway has TensorFlow's message classes, and no command line."""
    for bill in bills.values():
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    gateway, trainer = list_names(bills["gateway"]), list_names(bills["trainer"])
    assert {"flask", "granian", "grpcio", "tensorflow-cpu", "htmx.org", "uplot"} <= gateway
    assert not {"keras", "tensorflow", "typer", "rich", "pytest", "ruff"} & gateway
    assert {"keras", "tensorflow-cpu", "celery", "typer"} <= trainer
    assert not {"tensorflow", "flask", "pytest"} & trainer
    assert list_names(bills["modelserver"]) == trainer


@needs_uv
def test_a_bill_says_exactly_which_package_and_image_is_meant(bills: dict[str, Any]) -> None:
    """Version and address of each, once; the image's own name, revision and base; edges between what is there."""
    for name, bill in bills.items():
        refs = [each["bom-ref"] for each in bill["components"]]
        assert len(refs) == len(set(refs))
        assert all(each["version"] and re.match(r"pkg:(pypi|npm)/", each["purl"]) for each in bill["components"])
        whole = bill["metadata"]["component"]
        assert (whole["type"], whole["name"]) == ("container", f"modelyard/{name}")
        assert {"name": "modelyard:revision", "value": "abc"} in bill["metadata"]["properties"]
        assert {"name": "modelyard:base-image", "value": "python:3.11-slim-bookworm"} in bill["metadata"]["properties"]
        known = {*refs, whole["bom-ref"]}
        for each in bill["dependencies"]:
            assert {each["ref"], *each["dependsOn"]} <= known


# --- images of others -------------------------------------------------------------------------------------------------


@pytest.fixture
def crane(tmp_path: Path) -> Path:
    """A folder with a ``crane`` that knows every image."""
    program = tmp_path / "crane"
    program.write_text(f"#!/bin/sh\necho {DIGEST}\n")
    program.chmod(0o755)
    for name in ("sh", "dirname", "sha256sum", "sed"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    return tmp_path


def pin(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": str(folder)}
    return subprocess.run([PIN, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_every_image_of_others_is_pinned_by_the_variable_that_compose_reads(crane: Path) -> None:
    """And by the tag that stands there: one that was raised in one place would be pinned as it was."""
    lines = pin(crane).stdout.splitlines()
    pinned = dict(line.split("=", 1) for line in lines)
    files = (MAIN, SERVING, ROOT / "deploy" / "compose.gpu.yml")
    text = "".join(path.read_text() for path in files)
    used = dict(re.findall(r"\$\{(MODELYARD_\w+_IMAGE):-([^}]+)\}", text))
    assert pinned == {name: f"{image}@{DIGEST}" for name, image in used.items()}
    others = set(re.findall(r"^ *image: (?!\$\{MODELYARD|modelyard/)(\S+)", text, re.MULTILINE))
    assert others == set(), "an image that nobody can pin"
    for name in IMAGES:
        assert f"ARG PYTHON={used['MODELYARD_PYTHON_IMAGE']}\n" in (ROOT / "deploy" / name / "Dockerfile").read_text()


def test_kustomize_gets_lines_for_its_images(crane: Path) -> None:
    """Those that pods name; the base of ours is in ours."""
    assert f"  - {{name: tensorflow/serving, newTag: 2.20.0, digest: {DIGEST}}}" in pin(crane, "kustomize").stdout
    assert "python" not in pin(crane, "kustomize").stdout


def test_what_is_no_digest_is_not_written(crane: Path) -> None:
    """A registry's error page must not get into a file that builds read; no tool and a wrong word are said."""
    (crane / "crane").write_text("#!/bin/sh\necho 'no such image'\n")
    done = pin(crane)
    assert (done.returncode, done.stdout) == (1, "")
    assert "expected a digest, received 'no such image'" in done.stderr
    (crane / "crane").unlink()
    done = pin(crane)
    assert (done.returncode, "needs skopeo, crane, or docker" in done.stderr) == (1, True)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_ocis_labels(name: str) -> None:
    """What a build knows by itself, and what it is told."""
    text = (ROOT / "deploy" / name / "Dockerfile").read_text()
    labels = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", text))
    told = {"revision", "created", "source"}
    assert labels == {"title", "description", "licenses", "version", "vendor", "base.name"} | told
    arguments = read(MAIN)["x-args"]
    assert {each.lower() for each in arguments} == told | {"python"}


# --- the bucket -------------------------------------------------------------------------------------------------------


def test_the_bucket_is_followed_before_anybody_serves() -> None:
    """Its heartbeat comes once all that is served is there; whoever serves or writes waits for that."""
    services = read(BUCKET)["services"]
    sync = services["sync"]
    heartbeat = sync["environment"]["MODELYARD_HEARTBEAT"]
    assert heartbeat in sync["healthcheck"]["test"]
    known = {f"MODELYARD_{name.upper()}" for name in SyncSettings.model_fields}
    assert set(sync["environment"]) <= known
    for name in ("modelserver", "gateway", "scheduler", "trainer"):
        assert services[name]["depends_on"] == {"sync": {"condition": "service_healthy"}}, name
    main = read(MAIN)["services"]
    assert sync["volumes"] == ["store:/store"]
    assert "store:/store:ro" in main["modelserver"]["volumes"], "a model server only reads"


def test_all_of_ours_know_the_bucket_have_its_library_and_reach_it() -> None:
    """The URL and the credentials' file for each that opens the store, and a network that leads out."""
    main, services = read(MAIN)["services"], read(BUCKET)["services"]
    ours = {name for name, each in main.items() if "store:/store" in each.get("volumes", ())}
    assert ours == set(services) - {"sync", "modelserver"}
    for name in sorted(ours | {"sync"}):
        service = services[name]
        assert "MODELYARD_STORE_URL" in service["environment"], name
        assert service["env_file"] == ["./secrets/objectstore.env"], name
        assert "--extra objectstore" in service["build"]["args"]["EXTRAS"], name
        assert "edge" in {*service.get("networks", ()), *main.get(name, {}).get("networks", ())}, name
    assert "environment" not in services["modelserver"]


def test_an_image_with_the_library_has_a_name_of_its_own() -> None:
    """Else a start without the file would find an image that has more, and one with it, one that has less."""
    main, services = read(MAIN)["services"], read(BUCKET)["services"]
    for name, service in services.items():
        if "image" in service:
            assert service["image"] != main.get(name, {}).get("image"), name
