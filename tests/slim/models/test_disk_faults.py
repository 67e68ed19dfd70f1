"""A fault of the disk is reported as one; a ledger that is busy costs a log line and not a job."""

import errno
import os
from pathlib import Path

import pytest

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.storage_errors import STORAGE_ERRNOS, translate_storage_errors
from modelyard.pipeline.errors import StageFailed
from modelyard.pipeline.processes.stage_process import make_stage_error
from modelyard.pipeline.progress import Progress
from modelyard.services.ledger import JobRequest, Ledger
from modelyard.services.trainer.execute import ProgressRecorder

TENSORFLOW = "Traceback ...\nResourceExhaustedError: /store/v.tempstate; No space left on device [Op:SaveV2]\n  at last"


@pytest.mark.parametrize("code", STORAGE_ERRNOS)
def test_a_fault_of_the_disk_is_named_with_the_file_and_without_its_folder(code: int) -> None:
    """Of each kind that the operating system has an error for."""
    with pytest.raises(StorageFailed, match=f"^storage: weights.h5: {os.strerror(code)}$"), translate_storage_errors():
        raise OSError(code, os.strerror(code), "/some/folder/weights.h5")


def test_what_a_library_says_of_the_disk_is_left_out() -> None:
    """HDF5 writes paths, addresses and times into the error, over several lines."""
    error = OSError(errno.ENOSPC, "Can't close file (file write failed: time = Sun\n, filename = '/some/folder/w.h5')")
    with pytest.raises(StorageFailed, match=r"^storage: No space left on device$"), translate_storage_errors():
        raise error


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "x"), ConnectionRefusedError(errno.EPIPE, "x")])
def test_other_errors_pass(error: OSError) -> None:
    """A file that our own code forgot, or a server that is away, is no fault of a disk."""
    with pytest.raises(type(error)), translate_storage_errors():
        raise error


def test_a_process_whose_disk_was_full_is_understood() -> None:
    """TensorFlow's message is in the middle of the last output; any other reason is the last line."""
    full, other = (
        make_stage_error("export", TENSORFLOW),
        make_stage_error("export", "Traceback ...\nValueError: no such layer"),
    )
    assert (type(full), str(full)) == (StorageFailed, "storage: export: No space left on device")
    assert (type(other), str(other)) == (StageFailed, "export failed: ValueError: no such layer")


def test_progress_that_cannot_be_written_down_ends_nothing(tmp_path: Path) -> None:
    """Something else is in the place of the ledger's folder."""
    ledger = Ledger("sqlite://")
    ledger.prepare()
    job = ledger.jobs.add(JobRequest(model="neuron"), by="test")
    (tmp_path / "none").touch()
    away = Ledger(f"sqlite:///{tmp_path}/none/ledger.db")
    with pytest.raises(StorageFailed):
        away.jobs.get(job.id)
    ProgressRecorder(away, job)(Progress("train"))
