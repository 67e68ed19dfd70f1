"""The catalog follows the model files, whatever these do when they are loaded."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.models.catalog import Catalog, read_catalog, write_catalog
from modelyard.models.errors import InvalidSpec
from modelyard.models.sources.files import Sources
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.trainer.model_watch import ModelWatch
from tests.support.waiting import wait_until

MODEL = """
import keras
from modelyard import Dataset, ModelSpec, Recipe, VectorInput
from helpers import SUMMARY


def read(folder):
    raise AssertionError("nothing is read")


SPEC = ModelSpec(
    summary=SUMMARY,
    dataset=Dataset(name="none", homepage="", read=read),
    task="regression",
    input=VectorInput(1),
    recipes={"quick": Recipe(epochs=EPOCHS, batch_size=1)},
    prepare=lambda splits, recipe: None,
    build=lambda recipe, state: keras.Sequential([keras.layers.Dense(1)]),
)
"""
FAULTS = {
    "syntax": ("SPEC = (\n", "syntax.py:1: SyntaxError: '(' was never closed"),
    "ends": ("import os\nos._exit(0)\nSPEC = 1\n", "ends.py: loading it ended the process (exit status 0)"),
    "crashes": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\nSPEC = 1\n",
        "crashes.py: loading it ended the process (SIGSEGV)",
    ),
    "hangs": ("SPEC = 1\nwhile True:\n    pass\n", "hangs.py: loading it takes longer than 3 s"),
    "open": (
        "from modelyard import Dataset, ModelSpec\nSPEC = ModelSpec(dataset=Dataset('d', '', None))\n",
        "open.py:2: ",
    ),
    "judged": (
        MODEL.replace("EPOCHS", "1")
        .replace("Dataset, ", "Dataset, Gate, ", 1)
        .replace("    task", "    gate=Gate('mae', floor=1),\n    task"),
        "judged: gate: less of mae is better: give it a ceiling, not a floor",
    ),
    "placed": (
        MODEL.replace("EPOCHS", "1").replace("    task", "    pool='gup',\n    task"),
        "placed: unknown pool 'gup'; did you mean gpu?",
    ),
    "prints": ("print('{}', flush=True)\nraise ValueError('after printing')\nSPEC = 1\n", "prints.py:2: ValueError"),
}


POOLS = ServingPools.of(("a:1",), {"gpu": ("b:2",)})


class Project:
    """A folder of models, and its watch."""

    def __init__(self, root: Path, forks: ForkServer) -> None:
        self.folder, self.store = root / "models", root / "store"
        self.store.mkdir()
        self.write("helpers.py", "SUMMARY = 'first'\n")
        self.forks = forks
        self.watch = self.make_watch()

    def make_watch(self) -> ModelWatch:
        return ModelWatch(self.store, Sources((self.folder,)), self.forks, limit_s=3, pools=POOLS)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def await_catalog(self, condition: Callable[[Catalog], object], what: str) -> Catalog:
        def look() -> Catalog | None:
            self.watch.refresh()
            found = read_catalog(self.store)
            return found if found and condition(found) else None

        found: Catalog = wait_until(look, what=what)
        return found


@pytest.fixture
def project(tmp_path: Path, forks: ForkServer) -> Iterator[Project]:
    found = Project(tmp_path, forks)
    yield found
    found.watch.close()


def test_a_file_hurts_no_other_whatever_it_does(project: Project) -> None:
    """Each fault is listed with its text, and training it is refused with that; the good one can be trained."""
    for name, (text, _) in FAULTS.items():
        project.write(f"{name}.py", text)
    project.write("good.py", MODEL.replace("EPOCHS", "1").replace("    task", "    pool='gpu',\n    task"))
    found = project.await_catalog(lambda each: set(each.broken) == set(FAULTS), "all faults")
    assert {name: each.pool for name, each in found.trainable.items()} == {"good": "gpu"}
    assert {name: expected for name, (_, expected) in FAULTS.items() if expected not in found.broken[name]} == {}
    with pytest.raises(InvalidSpec, match="was never closed"):
        found.find("syntax")


def test_edits_are_known_without_a_restart(project: Project) -> None:
    """Of the file, of what it imports, of a broken file that is mended; a new file, and one that is deleted."""
    project.write("good.py", MODEL.replace("EPOCHS", "1"))
    project.write("bad.py", "SPEC = 1\n")
    found = project.await_catalog(lambda each: each.trainable and each.broken, "both files")
    assert (found.trainable["good"].summary, found.trainable["good"].recipes["quick"]["epochs"].default) == ("first", 1)

    project.write("good.py", MODEL.replace("EPOCHS", "2"))
    project.await_catalog(lambda each: each.trainable["good"].recipes["quick"]["epochs"].default == 2, "the edit")
    project.write("helpers.py", "SUMMARY = 'second'\n")
    project.await_catalog(lambda each: each.trainable["good"].summary == "second", "the edit of a helper")
    project.write("bad.py", MODEL.replace("EPOCHS", "3"))
    project.write("new.py", MODEL.replace("EPOCHS", "4"))
    (project.folder / "good.py").unlink()
    found = project.await_catalog(lambda each: set(each.trainable) == {"bad", "new"}, "the other files")
    assert not found.broken


def test_a_package_that_is_installed_later_is_found(project: Project, tmp_path: Path) -> None:
    """No file of the project has changed: the error is looked at again."""
    there = tmp_path / "there"
    project.write("good.py", f"assert __import__('os').path.exists({str(there)!r})\n" + MODEL.replace("EPOCHS", "1"))
    project.await_catalog(lambda each: "AssertionError" in each.broken.get("good", ""), "the error")
    there.touch()
    project.await_catalog(lambda each: each.trainable, "the model")


def test_what_another_release_listed_is_listed_again(project: Project) -> None:
    """It stays in the catalog until then, so that nobody is told that there is no such model."""
    project.write("good.py", MODEL.replace("EPOCHS", "1"))
    project.await_catalog(lambda each: each.trainable, "the model")
    catalog = read_catalog(project.store)
    assert catalog
    old = {"good": catalog.trainable["good"].model_copy(update={"summary": "old"})}
    write_catalog(project.store, catalog.model_copy(update={"digest": "another", "trainable": old}))
    project.watch = project.make_watch()
    project.watch.refresh()
    meanwhile = read_catalog(project.store)
    assert meanwhile
    assert meanwhile.trainable["good"].summary == "old"
    project.await_catalog(lambda each: each.trainable["good"].summary == "first", "the new one")


def test_only_what_changed_is_listed_again(project: Project, tmp_path: Path) -> None:
    """Also after a restart of the trainer; each load leaves a mark here."""
    mark = f"from pathlib import Path\nPath({str(tmp_path)!r}, Path(__file__).stem).open('a').write('x')\n"
    for name in ("one", "two"):
        project.write(f"{name}.py", mark + MODEL.replace("EPOCHS", "1"))
    project.await_catalog(lambda each: len(each.trainable) == 2, "both")
    project.write("two.py", mark + MODEL.replace("EPOCHS", "2"))
    project.await_catalog(lambda each: each.trainable["two"].recipes["quick"]["epochs"].default == 2, "the edit")
    project.watch.close()
    project.watch = project.make_watch()
    project.write("three.py", mark + MODEL.replace("EPOCHS", "1"))
    project.await_catalog(lambda each: len(each.trainable) == 3, "the third")
    assert [(tmp_path / name).read_text() for name in ("one", "two", "three")] == ["x", "xx", "x"]
