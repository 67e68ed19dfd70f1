"""``modelyard serve --model-config`` reads the names of models as TensorFlow Serving reads its file."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.services.cli.commands.serve import NothingToServe, read_model_names

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
    assert read_model_names(write_config(tmp_path, SEVERAL)) == ("single", "double")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("", "has no model: expected model_config_list"),
        ("model_config_list {}", "has no model: expected model_config_list"),
        ('model_config_list { config { base_path: "/m" } }', "has a model without a name"),
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
        read_model_names(write_config(tmp_path, content))
    assert str(tmp_path / "models.config") in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Here: it is gone."""
    with pytest.raises(NothingToServe, match=r"cannot read .*: No such file or directory"):
        read_model_names(tmp_path / "models.config")


def test_the_command_prints_one_line_and_ends_with_2(tmp_path: Path) -> None:
    """Before any process is started."""
    config = write_config(tmp_path, "model_config_list { what }")
    command = [sys.executable, "-m", "modelyard", "serve", "--model-config", str(config), "--home", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith(f"error: {config} is not a text-format ModelServerConfig: 1:21")
    assert len(found.stderr.splitlines()) == 1
