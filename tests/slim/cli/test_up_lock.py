"""Commands find the system that `modelyard up` runs on their folder, whatever its port."""

from pathlib import Path

import pytest
import typer

from modelyard.models.registry.store import Store
from modelyard.services.cli.commands.local.doctor import check_system
from modelyard.services.cli.examples import make_curl_lines
from modelyard.services.cli.options import DEFAULT_URL, find_url
from modelyard.services.cli.up_lock import LOCK, AlreadyUp, Ports, hold_lock, is_up, read_ports
from tests.slim.cli.test_help import COMMANDS
from tests.support.command_line import run_here

PORTS = Ports(9, 19)
"""Nobody listens there."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.delenv("MODELYARD_HOME", raising=False)
    monkeypatch.delenv("MODELYARD_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".modelyard").mkdir()
    return tmp_path


def test_commands_call_the_system_of_their_folder(project: Path) -> None:
    """By its port as long as it runs, else by that of the project's file, else by the default."""
    assert find_url() == DEFAULT_URL
    (project / "modelyard.toml").write_text("port = 9000\n")
    assert find_url() == "http://127.0.0.1:9000"
    with hold_lock(project / ".modelyard", PORTS):
        assert find_url() == "http://127.0.0.1:9"
        assert "no gateway answers at http://127.0.0.1:9 " in run_here("models").err
        remarks = [each.message for each in check_system(project / ".modelyard", project, find_url())]
        assert "nothing listens at http://127.0.0.1:9" in remarks
        assert "nothing listens on port 19 (model server)" in remarks
    assert find_url() == "http://127.0.0.1:9000"


def test_the_folder_may_be_another(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the project's file or the environment, which wins."""
    (project / "modelyard.toml").write_text('home = "mine"\n')
    (project / "mine").mkdir()
    with hold_lock(project / "mine", PORTS):
        assert find_url() == "http://127.0.0.1:9"
        monkeypatch.setenv("MODELYARD_HOME", str(project / ".modelyard"))
        assert find_url() == DEFAULT_URL


@pytest.mark.parametrize("text", ["", "{", "[]", '{"gateway": "x", "model_server": 1}', '{"gateway": 1}', "9" * 999])
def test_a_lock_that_does_not_say_ports_is_a_lock(tmp_path: Path, text: str) -> None:
    """As an older release wrote it."""
    with hold_lock(tmp_path, PORTS):
        (tmp_path / LOCK).write_text(text)
        assert is_up(tmp_path)
        assert read_ports(tmp_path) is None


def test_a_folder_has_one_system(tmp_path: Path) -> None:
    """The second one is refused, and changes nothing; when the first has ended, another may begin."""
    with hold_lock(tmp_path, PORTS):
        with pytest.raises(AlreadyUp, match="already up"), hold_lock(tmp_path, Ports(1, 2)):
            pass
        assert read_ports(tmp_path) == PORTS
    with hold_lock(tmp_path, Ports(1, 2)):
        assert read_ports(tmp_path) == Ports(1, 2)


def test_ports_of_a_system_that_was_killed_are_not_called(tmp_path: Path) -> None:
    """What it left in the file is nobody's."""
    (tmp_path / LOCK).write_text('{"gateway": 9, "model_server": 19}')
    assert read_ports(tmp_path) is None


def test_example_commands_send_the_key_where_one_is_required(tmp_path: Path) -> None:
    """By the variable: the key itself is on no screen."""
    plain = make_curl_lines(Store(tmp_path), tmp_path, "http://127.0.0.1:9", [])
    (line,) = make_curl_lines(Store(tmp_path), tmp_path, "http://127.0.0.1:9", [], has_key=True)
    assert "Authorization" not in plain[0]
    assert line.startswith('curl -s -H "Authorization: Bearer $MODELYARD_API_KEY" ')


def test_every_command_takes_folder_and_address_from_the_project(project: Path) -> None:
    """Those that write below the folder, those that delete there, and those that call the gateway."""
    (project / "modelyard.toml").write_text('home = "mine"\nport = 9000\n')
    defaults = {
        (path, option.name): option.get_default(typer.Context(command))
        for path, command in COMMANDS.items()
        for option in command.params
        if option.name in ("home", "url")
    }
    assert {path for path, name in defaults if name == "home"} >= {"up", "gc", "import", "tensorboard", "doctor"}
    assert {name: {str(value) for (_, of), value in defaults.items() if of == name} for name in ("home", "url")} == {
        "home": {"mine"},
        "url": {"http://127.0.0.1:9000"},
    }
