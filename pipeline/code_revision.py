"""The revision of the code that a version was made of: this package's release, and the state of the model's file."""

import hashlib
import importlib.metadata
import subprocess
from collections.abc import Mapping
from pathlib import Path

from modelyard.models.sources.loading import LoadedModel
from modelyard.models.sources.packages import ZOO

CHECKOUT = Path(__file__).resolve().parents[1]
CODE_FOLDERS = ("models", "pipeline", "services")
DIRTY = "-dirty"
"""As git writes it."""
HASH_CHARS = 12


def read_code_revision(loaded: LoadedModel) -> str:
    """``g1f2e3d4c5b6a (modelyard 0.2.0)``, or ``sha256:…`` outside git; the release alone for the zoo.

    Read when a job begins: files may be edited while it runs.
    """
    release, path = read_release(), loaded.file.path
    if loaded.file.module.startswith(f"{ZOO}."):
        return release
    in_git = not loaded.file.module or is_tracked(path)  # an environment may lie in a repository
    revision = read_git_revision(path.parent) if in_git else None
    return f"{revision or hash_sources(loaded.sources or {str(path): path.read_bytes()})} (modelyard {release})"


def is_tracked(path: Path) -> bool:
    """Whether a file belongs to a repository."""
    try:
        return bool(run_git(path.parent, "ls-files", "--", path.name))
    except (OSError, subprocess.SubprocessError):
        return False


def read_release(folder: Path = CHECKOUT) -> str:
    """The package version, with the git revision where there is a checkout.

    It is dirty if files have changed, and if code was never added, as a new zoo file that the version was made of.
    """
    release = importlib.metadata.version("modelyard")
    if not (folder / ".git").exists():
        return release
    revision = describe_git(folder, ["--", *CODE_FOLDERS])
    return f"{release}+{revision}" if revision else release


def read_git_revision(folder: Path) -> str | None:
    """The revision of the repository that a folder is in; None if it is in none, or git cannot tell.

    It is dirty if files of the repository have changed, or files in the folder were never added. What git is told to
    ignore does not count, unless it is code.
    """
    return describe_git(folder, ["--", "*.py"], ["--exclude-standard", "--", "."])


def describe_git(folder: Path, *untracked: list[str]) -> str | None:
    """``g1f2e3d4c5b6a``, with ``-dirty`` if ``git ls-files --others`` lists something for one of these arguments."""
    try:
        revision = run_git(folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
        added = [run_git(folder, "ls-files", "--others", "--exclude=__pycache__/", *which) for which in untracked]
    except (OSError, subprocess.SubprocessError):
        return None
    return f"g{revision.removesuffix(DIRTY)}{DIRTY if any(added) or revision.endswith(DIRTY) else ''}"


def hash_sources(sources: Mapping[str, bytes]) -> str:
    """SHA-256 over the files that a model was made from."""
    total = hashlib.sha256()
    for path in sorted(sources):
        total.update(hashlib.sha256(sources[path]).digest())
    return f"sha256:{total.hexdigest()[:HASH_CHARS]}"


def run_git(folder: Path, *arguments: str) -> str:
    """What git prints; raises ``subprocess.SubprocessError``."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
