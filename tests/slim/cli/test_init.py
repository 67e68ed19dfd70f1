"""``modelyard init``: what a new project holds, and what is left as it is."""

import csv
from pathlib import Path

import pytest

from modelyard.models.sources.files import Sources, find_models
from tests.support.slim_programs import modelyard

FILES = {
    *(".dockerignore", ".gitignore", "Dockerfile", "README.md", "modelyard.toml"),
    *("data/churn.csv", "models/churn.py", "tests/test_churn.py"),
}
PLANS = ("basic", "silver", "gold")


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_new_project_has_a_model_data_and_a_test(tmp_path: Path) -> None:
    """In a folder of any name; with an example of ours, if one is wanted; and the next command."""
    made = modelyard("init", "my shop", "--example", "mnist_cnn", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "next: cd 'my shop' && modelyard up" in made.stdout
    folder = tmp_path / "my shop"
    assert list_files(folder) == FILES | {"models/mnist_cnn.py", "models/mnist_cnn.measured.json"}
    assert (folder / "README.md").read_text().startswith("# my shop\n")
    assert set(find_models(Sources((folder / "models",))).files) == {"churn", "mnist_cnn"}
    assert len((folder / "models" / "churn.py").read_text().splitlines()) <= 5
    for name in (".gitignore", ".dockerignore"):
        assert {".modelyard/", "secrets/"} <= set((folder / name).read_text().splitlines())


def test_its_data_is_always_the_same_and_has_something_to_learn(tmp_path: Path) -> None:
    """Both answers are common, plans and months tell which, and some ages are missing."""
    for name in ("one", "two"):
        assert modelyard("init", name, folder=tmp_path).returncode == 0
    first, second = ((tmp_path / name / "data" / "churn.csv").read_text() for name in ("one", "two"))
    assert first == second
    rows = list(csv.DictReader(first.splitlines()))
    assert list(rows[0]) == ["age", "plan", "tenure_months", "churned"]
    assert len(rows) == 1000
    shares = [share(rows, plan=plan) for plan in PLANS]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] - shares[2] > 0.3
    assert 0.4 < share(rows) < 0.6
    assert 2 <= sum(row["age"] == "" for row in rows) <= 30


def share(rows: list[dict[str, str]], **where: str) -> float:
    """Of those who left."""
    chosen = [row["churned"] == "yes" for row in rows if where.items() <= row.items()]
    return sum(chosen) / len(chosen)


@pytest.mark.parametrize("there", ["shop/notes.txt", "shop/.hidden", "shop"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    """A folder with anything in it, or a file of the name, is refused and left as it is."""
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine")
    refused = modelyard("init", "shop", folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: shop: ")
    assert list_files(tmp_path) == {there}


def test_an_empty_folder_is_filled_also_the_working_directory(tmp_path: Path) -> None:
    """The project is named after it."""
    (tmp_path / "shop").mkdir()
    assert modelyard("init", ".", folder=tmp_path / "shop").returncode == 0
    assert list_files(tmp_path / "shop") == FILES
    assert (tmp_path / "shop" / "README.md").read_text().startswith("# shop\n")


def test_an_example_is_copied_into_the_project_once(tmp_path: Path) -> None:
    """Into its folder of models; a second time it is refused, and so is an unknown name."""
    assert modelyard("init", "shop", folder=tmp_path).returncode == 0
    shop = tmp_path / "shop"
    assert modelyard("init", "--example", "neuron", folder=shop).stdout == "  models/neuron.py\n"
    (shop / "models" / "neuron.py").write_text("mine")
    again = modelyard("init", "--example", "neuron", "--example", "mnist_mlp", folder=shop)
    assert (again.returncode, again.stderr) == (2, "error: models/neuron.py: it exists, and is left as it is\n")
    assert list_files(shop) == FILES | {"models/neuron.py"}
    assert "did you mean neuron" in modelyard("init", "other", "--example", "neurn", folder=tmp_path).stderr
    assert not (tmp_path / "other").exists()
    assert "expected a modelyard.toml with `models`" in modelyard("init", "--example", "neuron", folder=tmp_path).stderr
    assert "expected the NAME of a new folder" in modelyard("init", folder=shop).stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models = 3\n", "MODELYARD_MODELS: "),
        ('models = ["absent"]\n', "'absent' does not exist"),
        ("models = [\n", "modelyard.toml: expected TOML: "),
        ('port = "x"\n', "Invalid value for '--port'"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_starts(tmp_path: Path, text: str, expected: str) -> None:
    """By its name, and what is wrong with it."""
    (tmp_path / "modelyard.toml").write_text(text)
    refused = modelyard("up", folder=tmp_path)
    assert refused.returncode == 2
    assert expected in refused.stderr
    assert list_files(tmp_path) == {"modelyard.toml"}


def test_a_setting_that_there_is_not_is_said_before_anything_starts(tmp_path: Path) -> None:
    """Each process ignores what it does not know: a slip would go unnoticed."""
    assert modelyard("init", "shop", folder=tmp_path).returncode == 0
    with (tmp_path / "shop" / "modelyard.toml").open("a") as file:
        file.write("concurency = 2\n")
    refused = modelyard("up", folder=tmp_path / "shop")
    text = "error: modelyard.toml: unknown setting 'concurency'; did you mean concurrency?\n"
    assert (refused.returncode, refused.stderr) == (2, text)
