"""What `modelyard up` starts for the devices that a machine has."""

from modelyard.services.cli.commands.local.up import make_trainers
from modelyard.services.cli.processes.supervisor import Service

SETTINGS = {"MODELYARD_CONCURRENCY": "2", "MODELYARD_STORE": "store"}


def started(gpu_names: list[str]) -> dict[str, Service]:
    return {service.name: service for service in make_trainers(SETTINGS, gpu_names, ready=lambda: True)}


def test_without_a_gpu_one_trainer_trains_as_many_jobs_as_configured() -> None:
    """It finds out itself that there is none: it gets nothing but everyone's settings."""
    assert {name: service.environment for name, service in started([]).items()} == {"trainer": SETTINGS}


def test_each_gpu_has_a_trainer_of_its_own_and_so_has_the_cpu() -> None:
    """By the names that the driver or `CUDA_VISIBLE_DEVICES` gives them; a GPU trains one job at a time."""
    found = started(["2", "GPU-8f1c"])
    said = {
        name: [service.environment[key] for key in ("CUDA_VISIBLE_DEVICES", "MODELYARD_GPUS", "MODELYARD_CONCURRENCY")]
        for name, service in found.items()
    }
    assert said == {
        "trainer-gpu0": ["2", "1", "1"],
        "trainer-gpu1": ["GPU-8f1c", "1", "1"],
        "trainer-cpu": ["", "0", "2"],
    }
    assert {service.environment["MODELYARD_STORE"] for service in found.values()} == {"store"}
