"""Runs a stage in a process of its own, that sees no GPU and computes with TensorFlow.

An LSTM traced with a GPU visible contains cuDNN operations and fails on a CPU server; and a version that loads in a
process that never saw its training is a version that will load in the server.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import orjson

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.pipeline.errors import StageFailed, storage_fault_in
from modelyard.pipeline.forkserver import ForkServer
from modelyard.pipeline.progress import Progress, Report, Stage

LAST_WORDS = 2000


def run_stage(stage: Stage, module: str, argument: str, forks: ForkServer, report: Report) -> None:
    """``python -m module argument``; its standard output is progress, one JSON object per line.

    Raises:
        StageFailed: with the last line of its standard error.
        StorageFailed: a disk was the cause.
    """
    report(Progress(stage, message="starting a process"))
    try:
        process = forks.start(module, argument)
    except OSError as error:
        raise StageFailed(f"{stage} failed: no process for it: {error}") from error
    # Pipes, not files: its last words may be that the disk is full.
    with process, ThreadPoolExecutor(1) as reader:
        errors = reader.submit(process.stderr.read)
        process.stdin.close()
        try:
            for line in process.stdout:
                if line.startswith(b"{"):
                    report(replace(Progress(**orjson.loads(line)), stage=stage))
        except BaseException:
            process.kill()
            raise
        returncode = process.wait()
    if returncode:
        said = errors.result()[-LAST_WORDS:].decode(errors="replace").strip()
        raise failure(stage, said or f"exit status {returncode}")


def failure(stage: Stage, said: str) -> ModelyardError:
    """What a stage's process said last, as an error."""
    if fault := storage_fault_in(said):
        return StorageFailed(f"storage: {stage}: {fault}")
    return StageFailed(f"{stage} failed: {said.splitlines()[-1].removeprefix('modelyard.models.errors.')}")


def say(progress: Progress) -> None:
    """The ``Report`` inside such a process."""
    print(orjson.dumps(progress).decode(), flush=True)
