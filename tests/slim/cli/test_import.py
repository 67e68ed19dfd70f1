"""``modelyard import``, as far as it goes without TensorFlow."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.models.backend import tensorflow_version
from modelyard.services.cli.commands.local.imports import read_labels, split_addresses
from modelyard.services.cli.processes.launch import find_servers

IMPORTS = """
import sys
import modelyard.services.cli.commands.local.imports, modelyard.pipeline.import_model
print(sorted({"tensorflow", "keras", "sklearn"} & set(sys.modules)))
"""


def test_labels_are_names_between_commas_or_lines_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("tabby\n\n siamese \n")
    assert read_labels("tabby, siamese") == ("tabby", "siamese")
    assert read_labels(str(tmp_path / "labels.txt")) == ("tabby", "siamese")
    assert read_labels("tabby,,siamese") == ("tabby", "", "siamese")  # refused later, with its place
    assert len(read_labels(",".join(f"class_{number}" for number in range(1000)))) == 1000


def test_the_model_server_of_a_running_system_is_found(tmp_path: Path) -> None:
    """While something holds its lock, and only then."""
    assert find_servers(tmp_path) == ()
    (tmp_path / ".up.lock").touch()
    assert find_servers(tmp_path) == ()
    with (tmp_path / ".up.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (found,) = find_servers(tmp_path)
        assert found.startswith("unix:")
        assert found.endswith("/serving.sock")
    assert split_addresses("one:8500, two:8500,") == ("one:8500", "two:8500")


def test_the_command_imports_nothing_that_computes() -> None:
    """The model is loaded in a process of its own."""
    printed = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, timeout=60, check=True).stdout
    assert printed == b"[]\n"


@pytest.mark.skipif(tensorflow_version() is not None, reason="is about its absence")
def test_without_tensorflow_it_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelyard", "import", "cats", str(tmp_path), "--home", str(tmp_path)]
    failed = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (failed.returncode, b"pip install 'modelyard[trainer]'" in failed.stderr) == (1, True), failed.stderr


@pytest.mark.skipif(tensorflow_version() is not None, reason="is about its absence")
def test_without_tensorboard_it_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelyard", "tensorboard", "--home", str(tmp_path)]
    failed = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (failed.returncode, b"pip install 'modelyard[tensorboard]'" in failed.stderr) == (1, True), failed.stderr
