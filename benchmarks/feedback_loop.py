"""The loop closed on real data: a class that training hardly saw, feedback on it, a trigger, a better version.

    MODELYARD_DATA_DIR=DIR python -m benchmarks.feedback_loop [--write]

A model like ``mnist_mlp`` is added, whose training data is 10,000 images with 1 % of one digit left. The whole system
runs as ``modelyard up`` starts it; clients send images of the rest of MNIST's training part and their labels.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks.page import replace_section
from benchmarks.served import free_ports
from modelyard.models.datasets import mnist

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "rollouts.md"
RESULTS = Path(__file__).parent / "results" / "feedback_loop.json"
MODEL, DIGIT, TRAINED, LEFT = "mnist_scarce", 7, 10_000, 0.01
FEEDBACK = 1000
ZOO = f'''
"""As ``mnist_mlp``, from {TRAINED} images with hardly any {DIGIT}."""
from dataclasses import replace
import numpy as np
from modelyard.models.data import Split
from modelyard.models.zoo.mnist_mlp import SPEC as WHOLE

def read(folder):
    splits = WHOLE.dataset.read(folder)
    x, y = splits.train.x[:{TRAINED}], splits.train.y[:{TRAINED}]
    scarce = np.flatnonzero(y == {DIGIT})
    kept = np.setdiff1d(np.arange(len(y)), scarce[round({LEFT} * len(scarce)):])
    return replace(splits, train=Split(x[kept], y[kept]))

dataset = replace(WHOLE.dataset, name="MNIST, hardly any {DIGIT}", read=read)
SPEC = replace(WHOLE, name="{MODEL}", dataset=dataset, gate=replace(WHOLE.gate, floor=0.7, max_drop=0.02))
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/rollouts.md")
    write = parser.parse_args().write
    data = Path(os.environ["MODELYARD_DATA_DIR"]).resolve()
    with tempfile.TemporaryDirectory() as folder, system(Path(folder), data) as (home, http):
        before = version(home, http, 1)
        print(f"version 1: {summarize_run(before)}", flush=True)
        trigger = {"feedback": FEEDBACK, "cooldown_s": 0, "job": {"with_feedback": True, "data": "require-real"}}
        http.put(f"/api/models/{MODEL}/triggers/learn", json=trigger).raise_for_status()
        started = time.monotonic()
        right = predict_and_label(http, data)
        told_s = time.monotonic() - started
        wait_for(lambda: http.get(f"/api/models/{MODEL}/rollout").json()["stable"] == 2, 600, "version 2 answers")
        learned_s = time.monotonic() - started - told_s
        after = version(home, http, 2)
        print(f"version 2: {summarize_run(after)}", flush=True)
        (job,) = http.get("/api/jobs", params={"model": MODEL, "limit": 1}).json()["jobs"]
        found = {
            "feedback": FEEDBACK,
            "right_before": right,
            "told_s": round(told_s, 1),
            "until_it_answers_s": round(learned_s, 1),
            "job_by": job["by"],
            "versions": [before, after],
        }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    if write:
        replace_section(PAGE, "loop", "\n".join(render_table(found)))


@contextmanager
def system(folder: Path, data: Path) -> Iterator[tuple[Path, httpx.Client]]:
    """``modelyard up`` over a copy of the code with one more model."""
    for package in ("models", "pipeline", "services"):
        shutil.copytree(ROOT / package, folder / "code" / package)
    (folder / "code" / "models" / "zoo" / f"{MODEL}.py").write_text(ZOO)
    port, serving_port = free_ports(2)
    command = [sys.executable, "-m", "modelyard", "up", "--home", str(folder / "home")]
    options = ["--port", str(port), "--serving-port", str(serving_port), "--model", MODEL, "--data", "require-real"]
    settings = {
        "PYTHONPATH": str(folder / "code"),
        "MODELYARD_DATA_DIR": str(data),
        "MODELYARD_CAPTURED_MODELS": MODEL,
        "COLUMNS": "200",
    }
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [*command, *options], stdout=out, stderr=out, cwd=folder / "code", env=os.environ | settings
        )
    try:
        wait_for(lambda: "Ctrl-C stops" in (folder / "out").read_text() or process.poll() is not None, 600, "up")
        if process.poll() is not None:
            sys.exit((folder / "out").read_text())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            yield folder / "home", http
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def predict_and_label(http: httpx.Client, data: Path) -> float:
    """Half of the images are of the scarce digit; the share that was predicted rightly."""
    train = mnist.read(data).train
    rest = range(TRAINED, len(train))
    scarce = [index for index in rest if train.y[index] == DIGIT][: FEEDBACK // 2]
    others = [index for index in rest if train.y[index] != DIGIT][: FEEDBACK - len(scarce)]
    asked, kept = {}, [*scarce, *others]
    random.Random(0).shuffle(kept)
    for index in kept:
        answer = http.post(f"/v1/models/{MODEL}:predict", json={"instances": [train.x[index].tolist()]})
        asked[answer.raise_for_status().headers["X-Request-Id"]] = str(train.y[index])
    right = 0
    for request_id, label in asked.items():
        wait_for(partial(is_captured, http, request_id), 30, "it is kept")
        response = http.post("/api/feedback", json={"request_id": request_id, "label": label}).raise_for_status()
        right += response.json()["right"]
    return right / len(asked)


def is_captured(http: httpx.Client, request_id: str) -> bool:
    return http.get(f"/api/answers/{request_id}").is_success


def version(home: Path, http: httpx.Client, number: int) -> dict[str, Any]:
    """What a version's own evaluation and decision record say."""
    folder = home / "store" / MODEL / str(number) / "assets.extra"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    record = http.get(f"/api/models/{MODEL}/versions/{number}").json()
    return {
        "accuracy": evaluation["metrics"]["accuracy"],
        "recall": evaluation["per_class"][str(DIGIT)]["recall"],
        "trained_on": record["data"]["train"],
        "from_feedback": record["data"]["feedback"],
        "fingerprint": record["data"]["fingerprint"],
        "reasons": record["verdict"]["reasons"],
        "changes": [f"{change['action']} by {change['by']}" for change in record["changes"]],
    }


def summarize_run(found: dict[str, Any]) -> str:
    return (
        f"accuracy {found['accuracy']:.4f}, of {DIGIT}s {found['recall']:.4f}, {found['from_feedback']} from feedback"
    )


def render_table(found: dict[str, Any]) -> Iterator[str]:
    yield f"| version | trained on | of these from feedback | test accuracy | {DIGIT}s recognised |"
    yield "|---|---|---|---|---|"
    for number, each in enumerate(found["versions"], start=1):
        counts = f"{each['trained_on']:,} | {each['from_feedback']:,}"
        yield f"| {number} | {counts} | {each['accuracy']:.2%} | {each['recall']:.2%} |"
    yield ""
    yield (
        f"{found['feedback']:,} answers had feedback, of which {found['right_before']:.1%} were right. "
        f"{found['until_it_answers_s']:.0f} s after the last of it version 2 answered. "
        f"Its job was asked for by `{found['job_by']}`; its verdict: {'; '.join(found['versions'][1]['reasons'])}."
    )


def wait_for(condition: Callable[[], Any], deadline_s: float, what: str) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
