"""Writes what is in each image of ours, as CycloneDX 1.5: the packages that its Dockerfile installs, by uv.lock.

    python deploy/sbom.py OUT [--uv PATH] [--revision REVISION]

Each ``OUT/NAME.cdx.json`` also has the files of others that our code holds (the console's scripts) and the base image's
name. The packages of the base image itself are its publisher's to list: ``docker buildx build --sbom=true`` adds them.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
IMAGES = ("gateway", "trainer", "modelserver")
EXTRAS = re.compile(r'^ARG EXTRAS="(.*)"$', re.MULTILINE)
BASE = re.compile(r"^ARG PYTHON=(\S+)$", re.MULTILINE)
LEFT_OUT = re.compile(r"--no-install-package[ =]([\w.-]+)")
MESSAGES = "tensorflow-cpu"
"""The package whose generated message classes the gateway's image has, and nothing else of it."""


def main() -> None:
    """Writes a file for each image, and prints its name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--revision", default="")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        path = given.out / f"{image}.cdx.json"
        path.write_text(json.dumps(describe_image(image, given.uv, given.revision), indent=1) + "\n")
        sys.stdout.write(f"{path}\n")


def describe_image(image: str, uv: str, revision: str) -> dict[str, Any]:
    """The document of one image."""
    dockerfile = (ROOT / "deploy" / image / "Dockerfile").read_text()
    base, extras = find(BASE, dockerfile, image), shlex.split(find(EXTRAS, dockerfile, image))
    absent = set(LEFT_OUT.findall(dockerfile))
    found = export(uv, [each for index, each in enumerate(extras) if not names_package(extras, index)])
    components = [each for each in found["components"] if each["name"] not in absent]
    if image == "gateway":
        components += list(describe_messages(uv))
    components += describe_scripts()
    kept = {each["bom-ref"] for each in components}
    found["components"] = sorted(components, key=lambda each: (each["name"], each["version"]))
    found["dependencies"] = list(keep_known(found.get("dependencies", ()), kept, found["metadata"]))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    found["metadata"]["component"] |= {"type": "container", "name": f"modelyard/{image}", "version": version}
    found["metadata"]["properties"] = [
        {"name": "modelyard:base-image", "value": base},
        *([{"name": "modelyard:revision", "value": revision}] if revision else []),
    ]
    return found


def find(pattern: re.Pattern[str], text: str, image: str) -> str:
    """What an image's Dockerfile says."""
    match = pattern.search(text)
    if match is None:
        raise SystemExit(f"deploy/{image}/Dockerfile: expected a line like {pattern.pattern}")
    return match[1]


def names_package(words: list[str], index: int) -> bool:
    """Whether a word is an option for ``uv sync`` that leaves a package out, or that option's value."""
    return "--no-install-package" in words[max(0, index - 1) : index + 1]


def export(uv: str, extras: list[str]) -> dict[str, Any]:
    """The locked packages of extras, as uv lists them."""
    command = [uv, "export", "--quiet", "--frozen", "--format", "cyclonedx1.5", "--no-default-groups", *extras]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: {done.stderr.strip()}")
    exported: dict[str, Any] = json.loads(done.stdout)
    return exported


def describe_messages(uv: str) -> Iterator[dict[str, Any]]:
    """TensorFlow's generated message classes in the gateway's image: out of the wheel, without the rest."""
    for each in export(uv, ["--extra", "cpu"])["components"]:
        if each["name"] == MESSAGES:
            scope = "the generated classes of its protocol buffers alone (deploy/gateway/copy_messages.py)"
            yield each | {"description": scope}


def describe_scripts() -> list[dict[str, Any]]:
    """What the console brings along of others."""
    files = json.loads((ROOT / "services/console/static/vendor/vendor.json").read_text())["files"]
    return [
        {
            "type": "file",
            "bom-ref": f"console:{each['file']}",
            "name": each["package"],
            "version": each["version"],
            "purl": f"pkg:npm/{each['package']}@{each['version']}",
            "licenses": [{"license": {"id": each["licence"]}}],
            "hashes": [{"alg": "SHA-256", "content": each["sha256"]}],
        }
        for each in files
    ]


def keep_known(
    dependencies: list[dict[str, Any]], kept: set[str], metadata: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Edges between what is in the image."""
    known = kept | {metadata["component"]["bom-ref"]}
    for each in dependencies:
        if each["ref"] in known:
            yield each | {"dependsOn": [ref for ref in each.get("dependsOn", ()) if ref in known]}


if __name__ == "__main__":
    main()
