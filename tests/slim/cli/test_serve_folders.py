"""``modelyard serve --models-dir``: each folder is judged by itself, whatever its name."""

import os
from pathlib import Path

import pytest
from google.protobuf import text_format
from pydantic_settings import BaseSettings

from modelyard.models.tfserving.messages import model_server_config_pb2
from modelyard.services.cli.commands.local.serve_models import NothingToServe, parse_config, select_folders
from modelyard.services.gateway.http.paths import match_prediction
from modelyard.services.gateway.settings import GatewaySettings
from tests.support.fakes import fill

SERVED = ("it's", 'say "hi"?', "x" * 140, "50% off, new #1", "ünïcode", "back\\slash", "[bold]", "a b", "x" * 255)


def save(root: Path, *names: str, graph: str = "1/saved_model.pb") -> Path:
    for name in names:
        path = root / name / graph
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    return root


def test_names_that_an_address_can_hold_are_served(tmp_path: Path) -> None:
    """The configuration, the gateway's setting and its paths have them as they are."""
    save(tmp_path / "models", *SERVED)
    found = select_folders(tmp_path / "models", tmp_path / "home" / "models.config")
    assert (set(found.names), found.notes) == (set(SERVED), {})
    entries = parse_config(found.config).model_config_list.config
    assert {entry.name: entry.base_path for entry in entries} == {name: f"{tmp_path}/models/{name}" for name in SERVED}
    for name in SERVED:
        path = match_prediction(f"/v1/models/{name}:predict")
        assert path is not None
        assert path.model == name


def test_what_is_skipped_has_its_reason_and_the_rest_is_served(tmp_path: Path) -> None:
    """Also where the rest is one model."""
    root = save(tmp_path / "models", "good", "two:parts", "line\nbreak")
    save(root, "flat", graph="saved_model.pb")
    save(root, "words", graph="latest/saved_model.pb")
    save(root, "huge", graph=f"{'9' * 20}/saved_model.pb")
    save(root, ".hidden")
    save(root, "text", graph="7/saved_model.pbtxt")
    (root / "empty").mkdir()
    (root / "README").write_text("no folder")
    save(root, "ours")
    (root / "ours" / "rollout.json").write_text("{")
    save(root, os.fsdecode(b"caf\xe9"))
    found = select_folders(root, tmp_path / "models.config")
    assert found.names == ("good", "text")
    no_version = "it has no numbered folder with a saved_model.pb"
    assert {name: why.partition(": ")[0] for name, why in found.notes.items()} == {
        "two:parts": "a colon ends a model's name in an address",
        r"'line\nbreak'": "its name has characters that cannot be printed",
        "flat": "its SavedModel is not in a numbered folder",
        "words": no_version,
        "huge": no_version,
        "empty": no_version,
        "ours": "rollout of ours is damaged",
        r"'caf\udce9'": "its name is not UTF-8",
    }


def test_a_folder_without_any_model_is_refused_with_what_is_there(tmp_path: Path) -> None:
    """Each of its folders with its reason."""
    save(tmp_path, "flat", graph="saved_model.pb")
    with pytest.raises(NothingToServe, match=r"has no model: expected .*; flat: its SavedModel is not in a numbered"):
        select_folders(tmp_path, tmp_path / "models.config")


@pytest.mark.parametrize("graph", ["1/saved_model.pb", "1/saved_model.pbtxt"])
def test_a_folder_that_is_a_model_is_served_by_its_own_name(tmp_path: Path, graph: str) -> None:
    """The single model of TensorFlow Serving's ``--model_base_path``, hidden or not."""
    save(tmp_path, ".mine", graph=graph)
    found = select_folders(tmp_path / ".mine", tmp_path / "models.config")
    assert found.names == (".mine",)


def test_a_version_folder_itself_is_refused_with_the_layout(tmp_path: Path) -> None:
    """As what ``model.export`` has just written."""
    save(tmp_path, "m", graph="saved_model.pb")
    with pytest.raises(NothingToServe, match="its SavedModel is not in a numbered folder: expected NAME/1/"):
        select_folders(tmp_path / "m", tmp_path / "models.config")


def test_a_store_of_ours_with_one_damaged_rollout_serves_the_others(tmp_path: Path) -> None:
    """Its own configuration cannot be trusted to be the newest then: one is written."""
    store = fill(tmp_path / "store")
    (store.root / "digits" / "rollout.json").write_text("{")
    found = select_folders(store.root, tmp_path / "models.config")
    assert found.names == ("half_plus", "reviews")
    config = text_format.Parse(found.config.read_text(), model_server_config_pb2.ModelServerConfig())
    assert [list(entry.model_version_policy.specific.versions) for entry in config.model_config_list.config] == [
        [1, 2],
        [1],
    ]


def test_names_with_commas_reach_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in JSON, or names between commas."""
    for value, names in (('["a, b", " c "]', ("a, b", " c ")), ("a, b,", ("a", "b")), ("", ())):
        monkeypatch.setenv("MODELYARD_EXTERNAL_MODELS", value)
        assert GatewaySettings.load().external_models == names
    assert issubclass(GatewaySettings, BaseSettings)
