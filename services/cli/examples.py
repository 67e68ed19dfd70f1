"""Example commands to paste: one prediction per model, and a training job."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from modelyard.models.registry.inputs.example_body import encode_png, make_example_body
from modelyard.models.registry.manifest import Manifest
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store

REVIEW = "I loved this film: warm, funny and superbly acted."
MAX_BODY_CHARS = 600
"""Longer ones go into a file."""
KEY_HEADER = '-H "Authorization: Bearer $MODELYARD_API_KEY"'
RETRAIN = "mnist_mlp"
"""A model that trains in seconds."""


def make_curl_lines(
    store: Store, home: Path, url: str, models: Sequence[str], trained: str | None = RETRAIN, *, has_key: bool = False
) -> list[str]:
    """One ``curl`` per model, and one that submits a job for ``trained``; their files are below ``home``.

    ``has_key``: whether the gateway requires a key, which the shell that runs them has in ``MODELYARD_API_KEY``.
    """
    lines = list_lines(store, home, url, models, trained)
    return [line.replace("curl -s", f"curl -s {KEY_HEADER}", 1) for line in lines] if has_key else lines


def list_lines(store: Store, home: Path, url: str, models: Sequence[str], trained: str | None) -> list[str]:
    lines = []
    for model in models:
        stable = read_rollout(store, model).stable
        if stable is not None:
            lines.append(make_predict_line(store.manifest(model, stable), home / "examples", url))
    if trained is None:
        return lines
    body = json.dumps({"model": trained})
    lines.append(f"curl -s -H 'Content-Type: application/json' -d '{body}' {url}/api/jobs")
    return lines


def make_predict_line(manifest: Manifest, folder: Path, url: str) -> str:
    target = f"{url}/v1/models/{manifest.model}:predict{query_of(manifest)}"
    kind = manifest.input.kind if manifest.input else None
    if kind == "image":
        picture = write_png(manifest, folder / f"{manifest.model}.png")
        return f"curl -s -H 'Content-Type: image/png' --data-binary @{shlex.quote(str(picture))} {target}"
    if kind == "text" and manifest.labels:
        return f"curl -s -H 'Content-Type: text/plain' -d {shlex.quote(REVIEW)} {target}"
    body = json.dumps(make_example_body(manifest) or {"instances": [manifest.example]}, ensure_ascii=False)
    given = shlex.quote(body if len(body) <= MAX_BODY_CHARS else f"@{write_body(body, folder, manifest.model)}")
    return f"curl -s -H 'Content-Type: application/json' -d {given} {shlex.quote(target) if '?' in target else target}"


def query_of(manifest: Manifest) -> str:
    """Asks for labels, where a row of outputs alone says little; images and texts are answered so anyway."""
    named = manifest.labels and manifest.task in ("binary", "multiclass", "multilabel", "regression")
    return "?labels=true" if named and (manifest.input is None or manifest.input.kind not in ("image", "text")) else ""


def write_body(body: str, folder: Path, model: str) -> Path:
    """A body that is too long for a line, as a file."""
    path = folder / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)
    return path


def write_png(manifest: Manifest, path: Path) -> Path:
    """The manifest's example image as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(manifest.example))
    return path
