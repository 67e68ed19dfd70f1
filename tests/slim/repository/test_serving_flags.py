"""TensorFlow Serving's flags in the compose files: it knows them, each has its reason, and ours agree with them."""

from pathlib import Path

import pytest

from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.modelserver.batching.parameters import read_parameters
from modelyard.services.modelserver.settings import Settings as ModelServerSettings
from modelyard.services.modelserver.settings import parse_flags
from tests.support.compose import FILES, MAIN, SERVING, flags, read
from tests.support.repository import ROOT
from tests.support.serving_files import BATCHING, read_serving_file

TENSORFLOW_SERVING = {
    line
    for line in (ROOT / "tests/slim/tensorflow_serving_flags.txt").read_text().splitlines()
    if not line.startswith("#")
}


def test_tensorflow_serving_knows_every_flag() -> None:
    """An unknown one would end it at once."""
    assert set(flags(SERVING)) - TENSORFLOW_SERVING == set()


def test_every_flag_has_its_reason() -> None:
    """Beside it, or above it and those that belong together."""
    lines = SERVING.read_text().splitlines()
    given = [number for number, line in enumerate(lines) if line.strip().startswith("- --")]
    for number in given:
        above = number
        while lines[above].strip().startswith("- --") and "#" not in lines[above]:
            above -= 1
        assert "#" in lines[above], lines[number]


def test_labels_of_versions_not_loaded_yet_do_not_keep_a_model_server_from_starting() -> None:
    """models.config has labels, and they are read before anything is loaded: the flag is needed, and does for ours."""
    image = (ROOT / "deploy/modelserver/Dockerfile").read_text()
    name = "allow_version_labels_for_unavailable_models"
    for found in (flags(SERVING), flags(ROOT / "deploy/compose.embedded.yml")):
        assert found[name] == "true"
    assert f'"--{name}"]' in image


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_tensorflow_servings_rest_port_is_published_nowhere(path: Path) -> None:
    """It answers garbage where tensors are written as bytes; only its own health check asks it."""
    assert flags(SERVING)["enable_serialization_as_tensor_content"] == "true"
    server = (read(path).get("services") or {}).get("modelserver", {})
    assert "8501" not in str([server.get("ports"), server.get("expose"), server.get("environment")])
    others = {name: service for name, service in (read(path).get("services") or {}).items() if name != "modelserver"}
    assert "8501" not in str(others)


def test_our_model_server_takes_the_same_flags_but_those_for_http() -> None:
    """The settings of the two agree, where both have them."""
    theirs, ours = flags(SERVING), flags(ROOT / "deploy/compose.embedded.yml")
    own = {"bind_address", "allow_public", "drain_timeout_seconds"}
    assert set(ours) - own <= set(theirs)
    assert {name: value for name, value in ours.items() if name not in own} == {
        name: value for name, value in theirs.items() if name in ours
    }
    assert isinstance(
        parse_flags([f"--{name}={value}" if value else f"--{name}" for name, value in ours.items()]),
        ModelServerSettings,
    )


@pytest.mark.parametrize("cpus", BATCHING)
def test_no_call_of_the_gateway_is_too_large_for_a_batch(cpus: int) -> None:
    """TensorFlow Serving refuses one with more rows than the largest batch."""
    found = read_parameters(BATCHING[cpus])
    assert found.max_batch_size >= GatewaySettings.model_fields["max_instances"].default


def test_there_is_a_file_of_batching_for_each_number_of_cpus_that_is_given() -> None:
    """Those that are not measured follow from one that is, and say so."""
    assert set(BATCHING) == {1, 2, 3, 4}
    for cpus, path in BATCHING.items():
        read = read_serving_file(path)
        assert read.cpus == cpus
        assert read.parameters.num_batch_threads <= 2 * cpus
        measured = BATCHING[read.measured_cpus]
        assert read.is_measured is (measured == path)
        per_cpu = read_parameters(measured).num_batch_threads / read.measured_cpus
        assert read.parameters.num_batch_threads == round(per_cpu * cpus)


def test_compose_mounts_the_file_for_the_processors_that_it_gives() -> None:
    """Unless variables say otherwise, which name both."""
    service = read(MAIN)["services"]["modelserver"]
    (mounted,) = (each for each in service["volumes"] if each.endswith(":/etc/modelyard/batching.txt:ro"))
    assert read_serving_file(ROOT / mounted.partition(":")[0]).cpus == float(service["cpus"])


@pytest.mark.parametrize("cpus", BATCHING)
def test_flags_are_those_that_go_with_each_file(cpus: int) -> None:
    """What was measured is what runs."""
    given = flags(SERVING)
    wanted = read_serving_file(BATCHING[cpus]).flags
    threads = {name for name in given if name.endswith("_parallelism") or name == "rest_api_num_threads"}
    assert {name: given[name] for name in threads} == wanted
