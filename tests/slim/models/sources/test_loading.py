"""One model's file: how it is imported, what it may import, and what is said of one that cannot be used."""

import inspect
import sys
from pathlib import Path

import pytest

from modelyard.models.errors import InvalidSpec
from modelyard.models.sources.files import ModelFile
from modelyard.models.sources.loading import LoadedModel, load_model, load_saved
from tests.slim.models.sources.conftest import HEAD, SPEC, Write

ENDS = "a model's file ends in SPEC = ModelSpec(...)"


def load(path: Path) -> LoadedModel:
    return load_model(ModelFile(path.stem, path))


def test_a_spec_gets_its_name_and_summary_from_the_file(write: Write) -> None:
    """And says where it comes from; what it says itself stands."""
    path = write("churn.py", f'"""Which customers leave?\n\nMore of it."""\n{SPEC}')
    spec = load(path).spec
    assert (spec.name, spec.summary, spec.file) == ("churn", "Which customers leave?", path)
    own = load(write("cats.py", HEAD + "SPEC = ModelSpec(name='cats', summary='Cats.', dataset=DATA)\n")).spec
    assert (own.name, own.summary) == ("cats", "Cats.")


@pytest.mark.parametrize("name", ["json", "keras", "models", "modelyard", "helpers", "logging"])
def test_a_model_may_have_the_name_of_anything_that_is_installed(write: Write, name: str) -> None:
    """Nothing else sees it, and it sees what is installed; so do its siblings."""
    before = sys.modules.get(name)
    text = "import json, logging, numpy, pydantic\nassert json.dumps and logging.getLogger and numpy.array\n"
    assert load(write(f"{name}.py", text + SPEC)).spec.name == name
    assert load(write("sibling.py", text + SPEC)).spec.name == "sibling"
    assert sys.modules.get(name) is before


@pytest.mark.parametrize(
    "lines",
    [
        "import helpers\nassert helpers.VALUE == 7",
        "import helpers as h\nassert h.VALUE == 7",
        "from helpers import VALUE\nassert VALUE == 7",
        "from .helpers import VALUE\nassert VALUE == 7",
        "from . import helpers\nassert helpers.VALUE == 7",
        "import features.dates\nassert features.dates.DAYS == 7",
        "import features.dates as d\nassert d.DAYS == 7",
        "from features import dates\nassert dates.DAYS == 7",
        "from features.dates import DAYS, WEEK\nassert (DAYS, WEEK) == (7, 49)",
        "from .features.dates import DAYS\nassert DAYS == 7",
        "def late():\n    import helpers, features.dates\n    return helpers.VALUE\nassert late() == 7",
        "import plain.deep\nassert plain.deep.VALUE == 7",
    ],
)
def test_helpers_beside_a_model_import_as_they_would_anywhere(write: Write, lines: str) -> None:
    """Modules, packages, and modules in them that import one another; at the top of the file and inside functions."""
    write("helpers.py", "from .other import VALUE\n")
    write("other.py", "VALUE = 7\n")
    write("features/__init__.py", "import helpers\n")
    write("features/dates.py", "import helpers\nfrom ..other import VALUE\nDAYS, WEEK = helpers.VALUE, VALUE * 7\n")
    write("plain/deep.py", "from helpers import VALUE\n")
    load(write("churn.py", f"{lines}\n{SPEC}"))


def test_a_helper_is_meant_before_an_installed_package_of_its_name(write: Write) -> None:
    """By the model alone: whatever else imports that name gets the installed one."""
    write("packaging.py", "VALUE = 7\n")
    path = write(
        "churn.py", "import packaging\nimport packaging as same\nassert packaging.VALUE == same.VALUE == 7\n" + SPEC
    )
    load(path)
    import packaging

    assert not hasattr(packaging, "VALUE")


def test_a_package_of_the_models_name_is_no_model(write: Write) -> None:
    """The file is what is loaded."""
    write("churn/__init__.py", "raise ValueError('this is not it')\n")
    assert load(write("churn.py")).spec.name == "churn"


def test_two_folders_with_helpers_of_one_name_do_not_mix(write: Write) -> None:
    """In one process, also when a helper is imported late."""
    loaded = []
    for folder in ("one", "two"):
        write("helpers.py", f"NAME = {folder!r}\n", folder)
        text = HEAD + "def read(folder):\n    import helpers\n    return helpers.NAME\n\n\n"
        text += "SPEC = ModelSpec(dataset=Dataset(name='x', homepage='', read=read))\n"
        loaded.append(load(write("churn.py", text, folder)))
    assert [each.spec.dataset.read(Path()) for each in loaded] == ["one", "two"]


def test_an_edited_file_is_loaded_as_it_is_now(write: Write) -> None:
    """However soon after the last load: no compiled file is read, and none is left in the folder."""
    for number in range(3):
        write("helpers.py", f"NUMBER = {number}\n")
        path = write(
            "churn.py",
            HEAD + f"from helpers import NUMBER\nSPEC = ModelSpec(summary=f'{{NUMBER}}{number}', dataset=DATA)\n",
        )
        assert load(path).spec.summary == f"{number}{number}"
    assert {each.name for each in path.parent.iterdir()} == {"churn.py", "helpers.py"}


def test_another_process_loads_what_this_one_did(write: Write, tmp_path: Path) -> None:
    """After an edit, and when the folder is gone; with its helpers."""
    write("helpers.py", "SUMMARY = 'as it was'\n")
    write("features/__init__.py", "")
    write("features/dates.py", "import helpers\nSUMMARY = helpers.SUMMARY\n")
    path = write(
        "churn.py", HEAD + "from features.dates import SUMMARY\nSPEC = ModelSpec(summary=SUMMARY, dataset=DATA)\n"
    )
    saved = load(path).save(tmp_path / "saved.json")
    write("helpers.py", "SUMMARY = 'as it is'\n")
    assert load_saved(saved).spec.summary == "as it was"
    path.parent.rename(tmp_path / "elsewhere")
    again = load_saved(saved).spec
    assert (again.summary, again.file) == ("as it was", path)


def test_what_shows_sources_shows_what_was_loaded(write: Write) -> None:
    """As TensorFlow compiles functions from it; a traceback does, too."""
    text = HEAD + "def read(folder):\n    return 1\n\n\nSPEC = ModelSpec(dataset=Dataset('x', '', read))\n"
    path = write("churn.py", text)
    read = load(path).spec.dataset.read
    path.write_text("# edited\n" * 20)
    assert inspect.getsource(read) == "def read(folder):\n    return 1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import json\nSPEC = ModelSpec(\n", "churn.py:2: SyntaxError: '(' was never closed"),
        ("SPEC = 1\n  x = 2\n", "churn.py:2: IndentationError: unexpected indent"),
        ("SPEC = '\0'\n", "churn.py:1: "),
        (
            "import json\nimport xgboost_9\nSPEC = 1\n",
            "churn.py:2: no module 'xgboost_9', neither beside the file nor installed",
        ),
        ("from .absent import x\nSPEC = 1\n", "churn.py:1: no module 'absent', neither"),
        ("from modelyard import tabel\nSPEC = 1\n", "churn.py:1: ImportError: cannot import name 'tabel'"),
        ("def f():\n    return 1 / 0\n\n\nSPEC = f()\n", "churn.py:2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('no')\nSPEC = 1\n", "churn.py:2: it ends the process: SystemExit('no')"),
        ("raise BaseException\nSPEC = 1\n", "churn.py:1: BaseException"),
        ("from broken_helper import x\nSPEC = 1\n", "broken_helper.py:2: ValueError: too bad"),
        (
            HEAD + "\nMODEL = ModelSpec(dataset=DATA)\n",
            f"churn.py:6: {ENDS}, received no SPEC",
        ),
        (
            "import json\nSPEC = {'dataset': 1}\n",
            f"churn.py:2: {ENDS}, received a SPEC of type dict",
        ),
        (
            HEAD + "SPEC = ModelSpec(name='chrun', dataset=DATA)\n",
            "churn.py:5: expected the name 'churn', as the file is named, or no name, received 'chrun'",
        ),
        (HEAD + "SPEC = ModelSpec()\n", "churn.py:5: TypeError: ModelSpec.__init__() missing 1 required"),
        (
            "from modelyard import Recipe\nSPEC = Recipe(learning_rate=1e9, epochs=0)\n",
            "equal to 1, received 0; recipe key 'learning_rate': Input should be less than or equal to 10, received 1",
        ),
        (
            "from modelyard import Recipe\nSPEC = Recipe(epoch=3)\n",
            "churn.py:2: unknown recipe key 'epoch'; did you mean epochs?",
        ),
        ("import json\nraise ValueError('one\\n  two')\nSPEC = 1\n", "churn.py:2: ValueError: one two"),
        (
            "from modelyard.models.errors import InvalidData\nraise InvalidData('churn.csv: no column')\nSPEC = 1\n",
            "churn.py:2: churn.csv: no column",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(write: Write, text: str, expected: str) -> None:
    """Of the file that is wrong, which may be a helper; the path is that from the working directory on."""
    write("broken_helper.py", "import json\nraise ValueError('too bad')\n")
    with pytest.raises(InvalidSpec) as raised:
        load(write("churn.py", text))
    assert expected in str(raised.value)


def test_a_file_that_cannot_be_read_is_an_error_of_its_own(write: Write) -> None:
    """It was deleted since it was found."""
    path = write("churn.py")
    path.unlink()
    with pytest.raises(InvalidSpec, match=r"churn\.py: FileNotFoundError: .*No such file"):
        load(path)
