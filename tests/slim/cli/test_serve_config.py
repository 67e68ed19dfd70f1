"""``modelyard serve --model-config``: each entry is judged by itself, and read as TensorFlow Serving reads it."""

from pathlib import Path

import pytest

from modelyard.services.cli.commands.local.serve_models import NothingToServe, parse_config, select_entries
from tests.support.slim_programs import modelyard

SEVERAL = r"""
# name: "commented_out"
model_config_list: {
  config { name: 'single' base_path: "/models/name: \"x\"" model_platform: "tensorflow" }
  config <
    name: "dou" "ble"  # two strings side by side are one
    base_path: "/models/double", model_platform: "tensorflow"
    model_version_policy { specific { versions: 7 versions: 8 } }
    version_labels { key: "name" value: 7 }
  >;
}
"""


def write_config(folder: Path, content: str | bytes) -> Path:
    path = folder / "models.config"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_comments_quotes_and_several_models_are_understood(tmp_path: Path) -> None:
    """A name in a comment, a path or a label is none."""
    found = select_entries(write_config(tmp_path, SEVERAL), tmp_path / "written")
    assert (found.names, found.config) == (("single", "double"), tmp_path / "models.config")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("", "has no model: expected model_config_list"),
        ("model_config_list {}", "has no model: expected model_config_list"),
        ('model_config_list { config { base_path: "/m" } }', "can be served; entry 1: a model without a name"),
        ('model_config_list {\n  config { nam: "m" } }', r'2:12 : .* has no field named "nam"'),
        ('model_config_list { config { name: "m }', "is not a text-format ModelServerConfig"),
        (b"\xff\xfe", "is not a text-format ModelServerConfig"),
    ],
)
def test_a_file_that_names_no_model_is_refused_with_the_reason(
    tmp_path: Path, content: str | bytes, cause: str
) -> None:
    """And, if it cannot be parsed, with the place."""
    with pytest.raises(NothingToServe, match=cause) as refused:
        select_entries(write_config(tmp_path, content), tmp_path / "written")
    assert str(tmp_path / "models.config") in str(refused.value)


ODD = """
model_config_list {
  config { name: "good" base_path: "BASE/good" model_platform: "tensorflow" }
  config { base_path: "BASE/good" model_platform: "tensorflow" }
  config { name: "good" base_path: "BASE/other" model_platform: "tensorflow" }
  config { name: "relative" base_path: "models/relative" model_platform: "tensorflow" }
  config { name: "torch" base_path: "BASE/torch" model_platform: "pytorch" }
  config { name: 'none' base_path: "BASE/good" model_platform: "tensorflow" model_version_policy { latest { } } }
  config { name: "missing" base_path: "BASE/missing" model_platform: "tensorflow" }
  config { name: "two:parts" base_path: "BASE/good" model_platform: "tensorflow" }
  config { name: "say \\"hi\\"?" base_path: "BASE/good" model_platform: "tensorflow" }
}
"""


def test_one_wrong_entry_costs_no_other_its_service(tmp_path: Path) -> None:
    """What the model server would refuse the file for is left out of a copy; each entry has its reason."""
    (tmp_path / "good" / "1").mkdir(parents=True)
    (tmp_path / "good" / "1" / "saved_model.pb").write_bytes(b"")
    file = write_config(tmp_path, ODD.replace("BASE", str(tmp_path)))
    found = select_entries(file, tmp_path / "home" / "written")
    assert found.names == ("good", "missing", 'say "hi"?')
    assert found.notes == {
        "entry 2": "a model without a name",
        "good": "an entry before it has the same name",
        "relative": "base_path must be an absolute path, received 'models/relative'",
        "torch": "model_platform must be 'tensorflow', received 'pytorch'",
        "none": "latest.num_versions must be at least 1, received 0",
        "missing": f"{tmp_path}/missing: No such file or directory; it is served as soon as a version is there",
        "two:parts": "a colon ends a model's name in an address: it can be called by gRPC only",
        str(file): "changes of it are not followed before all entries are right",
    }
    entries = parse_config(found.config).model_config_list.config
    assert [entry.name for entry in entries] == ["good", "missing", "two:parts", 'say "hi"?']


def test_a_file_whose_entries_are_all_taken_is_followed_itself(tmp_path: Path) -> None:
    """A folder that is missing is waited for: it is no reason to copy the file."""
    entry = f'config {{ name: "m" base_path: "{tmp_path}/m" model_platform: "tensorflow" }}'
    file = write_config(tmp_path, f"model_config_list {{ {entry} }}")
    found = select_entries(file, tmp_path / "written")
    assert (found.config, found.names, list(found.notes)) == (file, ("m",), ["m"])
    assert not (tmp_path / "written").exists()


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Here: it is gone."""
    with pytest.raises(NothingToServe, match=r"cannot read .*: No such file or directory"):
        select_entries(tmp_path / "models.config", tmp_path / "written")


def test_the_command_prints_one_line_and_ends_with_2(tmp_path: Path) -> None:
    """Before any process is started."""
    config = write_config(tmp_path, "model_config_list { what }")
    found = modelyard("serve", "--model-config", str(config), "--home", str(tmp_path))
    assert found.returncode == 2
    assert found.stderr.startswith(f"error: {config} is not a text-format ModelServerConfig: 1:21")
    assert len(found.stderr.splitlines()) == 1
