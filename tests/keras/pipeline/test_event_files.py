"""TensorBoard event files of jobs, as TensorBoard itself reads them."""

import os
import subprocess
import sys
from pathlib import Path

from modelyard.pipeline.event_files import prune_runs, record_events
from modelyard.pipeline.progress import Progress
from tests.support.event_files import read_curves

WRITE = """
import sys
from pathlib import Path
from modelyard.pipeline.event_files import record_events
from modelyard.pipeline.progress import Progress

with record_events(Path(sys.argv[1]), lambda _: None) as report:
    report(Progress("train", epoch=1, epochs=1, step=1, steps=1, metrics={"loss": 0.5}))
assert "tensorflow" not in sys.modules
"""


def test_a_later_attempt_adds_to_the_files_of_the_one_before(tmp_path: Path) -> None:
    for epoch in (1, 2):
        with record_events(tmp_path, lambda _: None) as report:
            report(Progress("train", epoch=epoch, epochs=2, step=5, steps=5, metrics={"loss": 1 / epoch}))
            report(Progress("train", epoch=epoch, epochs=2, step=4, steps=5, metrics={"loss": 9.0}))  # no epoch's end
    assert read_curves(tmp_path / "train") == {"epoch_loss": [(1, 1.0), (2, 0.5)]}


def test_a_process_without_tensorflow_stays_without(tmp_path: Path) -> None:
    """As one that trains on JAX."""
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], check=True, timeout=60)
    assert read_curves(tmp_path / "train") == {"epoch_loss": [(1, 0.5)]}


def test_a_folder_that_cannot_be_written_costs_a_sentence_and_no_job(tmp_path: Path) -> None:
    """Said once; the reports go on."""
    (tmp_path / "file").write_bytes(b"")
    said: list[Progress] = []
    with record_events(tmp_path / "file" / "events", said.append) as report:
        for epoch in (1, 2):
            report(Progress("train", epoch=epoch, epochs=2, step=1, steps=1, metrics={"loss": 1.0}))
    assert [bool(each.epoch) for each in said] == [False, True, True]
    assert "no event files for TensorBoard: Not a directory" in said[0].message


def test_only_the_newest_jobs_are_kept(tmp_path: Path) -> None:
    """By the time of their last file; other models' stay."""
    for age, name in enumerate(("newest", "older", "oldest")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        os.utime(tmp_path / "mine" / name, (1e9 - age, 1e9 - age))
    (tmp_path / "other" / "job").mkdir(parents=True)
    assert prune_runs(tmp_path, "mine", 2) == 1
    assert sorted(each.name for each in (tmp_path / "mine").iterdir()) == ["newest", "older"]
    assert prune_runs(tmp_path, "absent", 2) == 0
    assert (tmp_path / "other" / "job").exists()
