"""Example commands to paste: one prediction per model, and a training job."""

import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store

REVIEW = "I loved this film: warm, funny and superbly acted."
RETRAIN = "mnist_mlp"
"""A model that trains in seconds."""


def make_curl_lines(store: Store, home: Path, url: str, models: Sequence[str]) -> list[str]:
    """One ``curl`` per model, and one that submits a job; files that they need are written below ``home``."""
    lines = []
    for model in models:
        stable = read_rollout(store, model).stable
        if stable is not None:
            lines.append(make_predict_line(store.manifest(model, stable), home / "examples", url))
    body = json.dumps({"model": RETRAIN})
    lines.append(f"curl -s -H 'Content-Type: application/json' -d '{body}' {url}/api/jobs")
    return lines


def make_predict_line(manifest: Manifest, folder: Path, url: str) -> str:
    target = f"{url}/v1/models/{manifest.model}:predict"
    if manifest.input.kind == "image":
        picture = write_png(manifest, folder / f"{manifest.model}.png")
        return f"curl -s -H 'Content-Type: image/png' --data-binary @{shlex.quote(str(picture))} {target}"
    if manifest.input.kind == "text" and manifest.labels:
        return f"curl -s -H 'Content-Type: text/plain' -d {shlex.quote(REVIEW)} {target}"
    body = json.dumps({"instances": [manifest.example]})
    return f"curl -s -H 'Content-Type: application/json' -d {shlex.quote(body)} {target}"


def write_png(manifest: Manifest, path: Path) -> Path:
    """The manifest's example image as a file."""
    from PIL import Image

    pixels = np.array(manifest.example, dtype=np.uint8)[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path
