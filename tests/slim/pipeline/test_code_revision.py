"""The code that a version was made of: a revision, and whether there is more than it says."""

import subprocess
from pathlib import Path

import pytest

from modelyard.models.sources.files import ModelFile
from modelyard.models.sources.loading import LoadedModel, load_model
from modelyard.pipeline.code_revision import read_code_revision, read_release, run_git


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("models/zoo/neuron.py", "services/__init__.py", "README.md", ".gitignore"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("private_*.py\n__pycache__/\n" if name == ".gitignore" else "")
    commit_all(tmp_path)
    return tmp_path


def commit_all(folder: Path) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(folder), *command], check=True)


def test_a_clean_checkout_is_its_revision(checkout: Path) -> None:
    """Compiled files, and notes beside the code, are no part of it."""
    (checkout / "models" / "__pycache__").mkdir()
    (checkout / "models" / "__pycache__" / "x.pyc").write_text("")
    (checkout / "notes.txt").write_text("")
    assert read_release(checkout).endswith(f"+g{run_git(checkout, 'rev-parse', '--short=12', 'HEAD')}")


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
    assert read_release(checkout).endswith(f"{run_git(checkout, 'rev-parse', '--short=12', 'HEAD')}-dirty")


def test_without_a_checkout_it_is_the_release(tmp_path: Path) -> None:
    """An installed package."""
    assert "+g" not in read_release(tmp_path)


MODEL = """
from modelyard import Dataset, ModelSpec
from helpers import NAME

SPEC = ModelSpec(dataset=Dataset(NAME, "", None))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "models/churn.py": MODEL,
        "models/helpers.py": "NAME = 'first'\n",
        "data/churn.csv": "a,b\n",
        ".gitignore": ".modelyard/\nprivate_*\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def load(project: Path) -> LoadedModel:
    return load_model(ModelFile("churn", project / "models" / "churn.py"))


def test_a_project_has_the_revision_of_its_own_repository(project: Path) -> None:
    """Beside the release; what is trained, and notes beside the models, are no part of it."""
    commit_all(project)
    for name in ("notes.txt", ".modelyard/store", "models/private_data.npz"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("")
    revision = run_git(project, "rev-parse", "--short=12", "HEAD")
    assert read_code_revision(load(project)) == f"g{revision} (modelyard {read_release()})"


@pytest.mark.parametrize(
    "path", ["models/churn.py", "models/new.py", "models/private_new.py", "models/words.txt", "data/churn.csv"]
)
def test_a_project_with_more_than_its_revision_is_dirty(project: Path, path: str) -> None:
    """An edited model, a file beside it that was never added, other data."""
    commit_all(project)
    with (project / path).open("a") as file:
        file.write("# more\n")
    assert "-dirty (modelyard " in read_code_revision(load(project))


def test_outside_git_the_sources_are_hashed(project: Path) -> None:
    """Those that the model was loaded from: a helper of it counts, another file does not."""
    loaded = load(project)
    first = read_code_revision(loaded)
    assert first.startswith("sha256:")
    (project / "models" / "other.py").write_text("")
    assert read_code_revision(load(project)) == first
    (project / "models" / "helpers.py").write_text("NAME = 'second'\n")
    assert read_code_revision(loaded) == first
    assert read_code_revision(load(project)) != first


def test_a_repository_without_a_commit_has_no_revision(project: Path) -> None:
    """Nor has one that git refuses to read."""
    subprocess.run(["git", "-C", str(project), "init", "-q"], check=True)
    assert read_code_revision(load(project)).startswith("sha256:")


def test_a_model_of_an_installed_package_is_its_file_unless_that_is_in_a_repository(project: Path) -> None:
    """An environment may lie in one and be ignored there; our own models are the release."""
    path, spec = project / "models" / "churn.py", load(project).spec
    loaded = LoadedModel(ModelFile("churn", path, "shop.churn"), spec)
    (project / ".gitignore").write_text("models/\n")
    commit_all(project)
    assert read_code_revision(loaded).startswith("sha256:")
    subprocess.run(["git", "-C", str(project), "add", "--force", "models"], check=True)
    assert read_code_revision(loaded).startswith("g")
    ours = LoadedModel(ModelFile("neuron", path, "modelyard.models.zoo.neuron"), spec)
    assert read_code_revision(ours) == read_release()
