"""The code that a version was made of: a revision, and whether there is more than it says."""

import subprocess
from pathlib import Path

import pytest

from modelyard.pipeline.stages.publish import read_code_revision, run_git


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("models/zoo/neuron.py", "services/__init__.py", "README.md", ".gitignore"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("private_*.py\n__pycache__/\n" if name == ".gitignore" else "")
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_a_clean_checkout_is_its_revision(checkout: Path) -> None:
    """Compiled files, and notes beside the code, are no part of it."""
    (checkout / "models" / "__pycache__").mkdir()
    (checkout / "models" / "__pycache__" / "x.pyc").write_text("")
    (checkout / "notes.txt").write_text("")
    assert read_code_revision(checkout).endswith(f"+g{run_git(checkout, 'rev-parse', '--short=12', 'HEAD')}")


@pytest.mark.parametrize(
    "path",
    [
        "models/zoo/mine.py",
        "models/zoo/private_one.py",
        "models/new/deep/file.py",
        "pipeline/stages/mine.py",
        "services/__init__.py",
        "README.md",
    ],
)
def test_a_checkout_with_more_than_its_revision_is_dirty(checkout: Path, path: str) -> None:
    """A zoo file that was never added, also one that git is told to ignore, and changed files of any kind."""
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("SPEC = None")
    assert read_code_revision(checkout).endswith(f"{run_git(checkout, 'rev-parse', '--short=12', 'HEAD')}-dirty")


def test_without_a_checkout_it_is_the_release(tmp_path: Path) -> None:
    """An installed package."""
    assert "+g" not in read_code_revision(tmp_path)
