"""Runs a stage in a process of its own that sees no GPU and computes with TensorFlow.

An LSTM traced with a GPU visible contains cuDNN operations and fails on a CPU server; and a version that loads in a
process that did not train it will load in the server.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import orjson

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.models.registry.storage_errors import find_storage_error
from modelyard.pipeline.errors import StageFailed
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress, Report, Stage

MAX_ERROR_BYTES = 2000


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
    # Pipes, not files: the last line of standard error may be that the disk is full.
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
        output = errors.result()[-MAX_ERROR_BYTES:].decode(errors="replace").strip()
        raise make_stage_error(stage, output or f"exit status {returncode}")


def make_stage_error(stage: Stage, output: str) -> ModelyardError:
    """An error from the end of a process's standard error."""
    if cause := find_storage_error(output):
        return StorageFailed(f"storage: {stage}: {cause}")
    return StageFailed(f"{stage} failed: {output.splitlines()[-1].removeprefix('modelyard.models.errors.')}")


def print_progress(progress: Progress) -> None:
    """The ``Report`` inside such a process: one JSON line on standard output."""
    print(orjson.dumps(progress).decode(), flush=True)
