"""Which files are models."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.models.errors import InvalidSpec, UnknownName
from modelyard.models.sources.files import EXAMPLES, Sources, find_models
from modelyard.models.sources.loading import load_model
from tests.slim.models.sources.conftest import ENDING, HEAD, SPEC, Write

ZOO = {"mnist_cnn", "mnist_mlp", "neuron", "sentiment_lstm"}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    (tmp_path / "models").mkdir()
    return Sources((tmp_path / "models",))


@pytest.mark.parametrize(
    "text",
    [
        SPEC,
        "SPEC: ModelSpec = make()\n",
        "from shared import SPEC\n",
        "from shared import (\n    SPEC,\n)\n",
        "if True:\n    SPEC = make()\n",
        "SPEC = ModelSpec(\n",
        HEAD + "\nspec = ModelSpec(dataset=DATA)\n",
    ],
)
def test_a_file_with_a_spec_is_a_model(write: Write, sources: Sources, text: str) -> None:
    """Also one that is not Python, or that gives the spec another name by mistake: loading it says so."""
    write("churn.py", text)
    assert set(find_models(sources).files) == {"churn"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("helpers.py", "VALUE = 7\n"),
        ("helpers.py", "# makes a SPEC of a table\ndef make():\n    return ModelSpec(dataset=None)\n"),
        ("helpers.py", "this is no Python\n"),
        ("_shared.py", SPEC),
        ("__init__.py", SPEC),
        ("churn.txt", SPEC),
        ("below/churn.py", SPEC),
    ],
)
def test_helpers_are_no_models(write: Write, sources: Sources, name: str, text: str) -> None:
    """Without a spec, or with a name that begins with an underscore; nor is anything below the folder."""
    write(name, text)
    found = find_models(sources)
    assert (dict(found.files), dict(found.faults)) == ({}, {})


def test_a_file_that_is_asked_for_as_a_model_says_what_it_lacks(write: Write, sources: Sources) -> None:
    """Where the model's line was forgotten; of files that nobody would take for a model the names are suggested."""
    write("churn.py", SPEC)
    write("chorn.py", "MODEL = make()\n")
    write("_charn.py", SPEC)
    found = find_models(sources)
    with pytest.raises(UnknownName, match=r"chorn\.py is no model: no line of it begins with SPEC = ModelSpec"):
        found.find("chorn")
    for name in ("_charn", "chern"):
        with pytest.raises(UnknownName, match=r"unknown model .*churn"):
            found.find(name)


@pytest.mark.parametrize("name", ["Churn", "2cats", "my-model", "class", "größe", "a" * 65])
def test_a_name_that_is_no_identifier_is_refused_with_the_file(write: Write, sources: Sources, name: str) -> None:
    """The name stands in URLs and in the store."""
    path = write(f"{name}.py")
    write("right.py")
    found = find_models(sources)
    assert set(found.files) == {"right"}
    assert found.faults == {str(path): f"{path}: expected a lower-case identifier, received {name!r}"}


def test_two_files_of_one_name_are_refused_with_both_paths(write: Write, tmp_path: Path) -> None:
    """Neither is chosen; a folder that is given twice, or by a link, is no second file."""
    first, second = write("churn.py", folder="one"), write("churn.py", folder="two")
    write("cats.py", folder="two")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert set(find_models(Sources((tmp_path / "one", tmp_path / "one", tmp_path / "link"))).files) == {"churn"}
    found = find_models(Sources((tmp_path / "one", tmp_path / "two")))
    assert set(found.files) == {"cats"}
    with pytest.raises(InvalidSpec, match=f"several files are named churn: {first}, {second}"):
        found.find("churn")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, write: Write) -> None:
    """The others are listed all the same."""
    write("churn.py")
    found = find_models(Sources((tmp_path / "absent", tmp_path / "models")))
    assert (set(found.files), found.faults) == (
        {"churn"},
        {str(tmp_path / "absent"): f"folder {tmp_path / 'absent'}: No such file or directory"},
    )


def test_the_zoo_is_listed_where_no_folder_is(write: Write, sources: Sources) -> None:
    """By file names: nothing is imported."""
    write("churn.py")
    assert set(find_models(EXAMPLES).files) >= ZOO
    assert not set(find_models(sources).files) & ZOO
    with pytest.raises(UnknownName, match="unknown model 'chrn'; did you mean churn"):
        find_models(sources).find("chrn")


PACKAGE = """
import sys
from modelyard.models.sources.files import Sources, find_models
from modelyard.models.sources.loading import load_model
found = find_models(Sources())
assert "shop" not in sys.modules
print(sorted(name for name, file in found.files.items() if not file.module.startswith("modelyard.models.zoo.")))
print([load_model(found.files[name]).spec.summary for name in ("cats", "churn")])
print(found.faults["gone"], "|", found.faults["odd"])
"""
EXPECTED = "entry point '%s': expected a module or package, received"


def test_installed_packages_bring_models_by_entry_points(tmp_path: Path) -> None:
    """A package's files, a module; loaded under their own names, so that they import what they like."""
    for name, text in {
        "shop/__init__.py": "SUMMARY = 'of the package'\n",
        "shop/models/__init__.py": "",
        "shop/models/churn.py": "from shop import SUMMARY\n" + HEAD + ENDING,
        "shop/models/helpers.py": "",
        "shop/cats.py": "from . import SUMMARY\n" + HEAD + ENDING,
        "shop-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: shop\nVersion: 1\n",
        "shop-1.dist-info/entry_points.txt": "[modelyard.models]\nall = shop.models\ncats = shop.cats:SPEC\n"
        "gone = shop.absent\nodd = shop.cats:f\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", PACKAGE], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "['cats', 'churn']",
        "['of the package', 'of the package']",
        f"{EXPECTED % 'gone'} 'shop.absent', which is not installed | {EXPECTED % 'odd'} 'shop.cats:f'",
    ]


def test_a_zoo_file_is_loaded_as_part_of_the_package(tmp_path: Path) -> None:
    """So that what tests and users import is what is trained."""
    file = find_models(EXAMPLES).find("neuron")
    assert file.module == "modelyard.models.zoo.neuron"
    copy = tmp_path / "neuron.py"
    copy.write_text(SPEC)
    assert load_model(find_models(Sources((tmp_path,))).find("neuron")).spec.file == copy
