"""A running system with something to look at on every page of the console, and one with nothing yet."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.served import free_ports

MODELS = ("mnist_mlp", "sentiment_lstm", "neuron", "logistic")
ANSWERS, SHOWN_TO_PEOPLE = 260, 90
"""Predictions of the model with pictures, and those with feedback."""
START_S, TRAINED_S = 900.0, 600.0
REVIEWS = ("Warm, funny and superbly acted.", "Two hours that I want back.", "Neither good nor bad, just long.")


@contextmanager
def full_system(home: Path) -> Iterator[str]:
    """The address of `modelyard up` over a folder: models are trained if it has none, and the pages filled."""
    port, serving_port = free_ports(2)
    ports = ["--port", str(port), "--serving-port", str(serving_port)]
    models = [word for model in MODELS for word in ("--model", model)]
    command = [sys.executable, "-m", "modelyard", "up", "--home", str(home), "--data", "sample", *ports, *models]
    settings = {"MODELYARD_CAPTURED_MODELS": ",".join(MODELS)}
    with running(command, f"http://127.0.0.1:{port}", home.with_suffix(".out"), settings, "/readyz") as url:
        with httpx.Client(base_url=url, timeout=60) as http:
            wait_for(lambda: serves_all(http), START_S, "all models")
            fill(http)
        yield url


@contextmanager
def empty_system(home: Path) -> Iterator[str]:
    """The address of a gateway over an empty store."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "modelyard.services.gateway"]
    settings = {"MODELYARD_HOME": str(home), "MODELYARD_PORT": str(port)}
    with running(command, f"http://127.0.0.1:{port}", home.with_suffix(".out"), settings, "/healthz") as url:
        yield url


@contextmanager
def running(command: list[str], url: str, log: Path, settings: dict[str, str], ready: str) -> Iterator[str]:
    """A command until the end of the block; begins when a path of it answers well."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | settings)

    def answers() -> bool:
        if process.poll() is not None:
            sys.exit(log.read_text())
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(url + ready, timeout=5).is_success
        return False

    try:
        wait_for(answers, START_S, url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def serves_all(http: httpx.Client) -> bool:
    found = http.get("/api/models").json()["models"]
    return {model["name"] for model in found if model.get("stable")} >= set(MODELS)


def fill(http: httpx.Client) -> None:
    """Jobs that ended well and badly, a search, a canary with answers, feedback, drift and triggers."""
    job = job_of(http)
    waits = [
        job(model="neuron", overrides={"seed": 3}),
        job(model="neuron", overrides={"learning_rate": 1e-6}),  # is rejected
        job(model="mnist_mlp", overrides={"epochs": 6, "learning_rate": 0.002}, rollout="canary"),
        job(model="sentiment_lstm", budget_s=1),  # fails
    ]
    http.post("/api/searches", json={"model": "neuron", "trials": 4}).raise_for_status()
    for name, trigger in {
        "nightly": {"cron": "30 2 * * *", "job": {"with_feedback": True}},
        "often": {"cron": "* * * * *", "cooldown_s": 0, "per_week": 500, "job": {"overrides": {"epochs": 2}}},
        "learn": {"feedback": 500, "job": {"with_feedback": True}},
        "floor": {"quality": {"floor": 0.95, "of": 100}, "job": {"with_feedback": True}},
        "drift": {"psi": 0.25},
    }.items():
        model = "neuron" if name == "often" else "mnist_mlp"
        http.put(f"/api/models/{model}/triggers/{name}", json=trigger).raise_for_status()
    for job_id in waits:
        wait_for(partial(has_ended, http, job_id), TRAINED_S, job_id)
    ask(http)


def has_ended(http: httpx.Client, job_id: str) -> bool:
    return http.get(f"/api/jobs/{job_id}").json()["finished_at"] is not None


def job_of(http: httpx.Client) -> Callable[..., str]:
    def submit(**job: Any) -> str:
        found: str = http.post("/api/jobs", json={"data": "sample", **job}).raise_for_status().json()["id"]
        return found

    return submit


def ask(http: httpx.Client) -> None:
    """Pictures of digits, and what they were: nine of ten that were shown to people were right."""
    generator = np.random.default_rng(0)
    ids = []
    for number in range(ANSWERS):
        digit = number % 10
        pixels = draw(digit, generator)
        answer = http.post("/v1/models/mnist_mlp:predict", json={"instances": [pixels.tolist()]}).raise_for_status()
        ids.append((answer.headers["X-Request-Id"], digit))
    for text in REVIEWS * 5:
        http.post("/v1/models/sentiment_lstm:predict", content=text, headers={"Content-Type": "text/plain"})
    for request_id, digit in ids[:SHOWN_TO_PEOPLE]:
        http.post("/api/feedback", json={"request_id": request_id, "label": str(digit)}).raise_for_status()


def draw(digit: int, generator: np.random.Generator) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """``[28,28,1]``, 0..255: a digit of the font that Pillow has, not quite in the middle."""
    image = Image.new("L", (28, 28))
    middle = tuple(14 + generator.uniform(-1.5, 1.5, 2))
    pen = ImageDraw.Draw(image)
    pen.text(middle, str(digit), fill=255, font_size=24, anchor="mm")
    return np.asarray(image, np.float32)[..., None]


def wait_for(condition: Callable[[], Any], deadline_s: float, what: str) -> None:
    """Exits, naming it, when it takes too long."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(0.2)
