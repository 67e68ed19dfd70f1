"""Runs a stage in a fresh process that sees no GPU and computes with TensorFlow.

An LSTM traced with a GPU visible contains cuDNN operations and fails on a CPU server; and a version that loads in a
process that never saw its training is a version that will load in the server.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import orjson

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.pipeline.errors import StageFailed, storage_fault_in
from modelyard.pipeline.progress import Progress, Report, Stage

SETTINGS = {"CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
LAST_WORDS = 2000


def run_fresh(stage: Stage, module: str, arguments: list[str], report: Report) -> None:
    """``python -m module arguments``; its standard output is progress, one JSON object per line.

    Raises:
        StageFailed: with the last line of its standard error.
        StorageFailed: a disk was the cause.
    """
    report(Progress(stage, message="starting a fresh process"))
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # not a file: its last words may be that the disk is full
        env=os.environ | SETTINGS,
    )
    assert process.stdout
    assert process.stderr
    with process, ThreadPoolExecutor(1) as reader:
        errors = reader.submit(process.stderr.read)
        try:
            for line in process.stdout:
                if line.startswith(b"{"):
                    report(replace(Progress(**orjson.loads(line)), stage=stage))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = errors.result()[-LAST_WORDS:].decode(errors="replace").strip()
        raise failure(stage, said or f"exit status {process.returncode}")


def failure(stage: Stage, said: str) -> ModelyardError:
    """What a stage's process said last, as an error."""
    if fault := storage_fault_in(said):
        return StorageFailed(f"storage: {stage}: {fault}")
    return StageFailed(f"{stage} failed: {said.splitlines()[-1].removeprefix('modelyard.models.errors.')}")


def say(progress: Progress) -> None:
    """The ``Report`` inside such a process."""
    print(orjson.dumps(progress).decode(), flush=True)
