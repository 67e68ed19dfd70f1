"""The compose files, as a parser of the specification reads them, and what they promise."""

import json
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from sqlalchemy import make_url

from modelyard.services.cli.settings import ClientSettings, MigrationSettings
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger.sql.roles import ROLES
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import Settings
from modelyard.services.trainer.settings import TrainerSettings
from tests.support.compose import FILES, MAIN, SERVING, read
from tests.support.repository import ROOT

KINDS: dict[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "scheduler": SchedulerSettings,
    "trainer": TrainerSettings,
    "migrate": MigrationSettings,
    "operator": ClientSettings,
}
ADDED = {"compose.bucket.yml": {"sync"}, "compose.grafana.yml": {"prometheus", "grafana"}}
"""Services that a file over the first adds, by file."""
PUBLISHED = {"compose.grafana.yml": ["127.0.0.1:3000:3000"]}
"""Ports of these."""
MACHINE_CPUS = 4
"""Of the machine that docs/deploy.md asks for: an engine refuses a limit above what there is."""

NETWORKS = {
    "postgres": {"control"},
    "redis": {"control"},
    "migrate": {"control"},
    "scheduler": {"control", "serving"},
    "operator": {"control"},
    "trainer": {"control", "serving"},
    "modelserver": {"serving"},
    "gateway": {"edge", "control", "serving"},
}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(MAIN)["services"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_parser_of_the_specification_understands_it(path: Path) -> None:
    """The main file, and each that goes over it."""
    assert PyCompose.from_yaml(yaml.safe_dump(read(path))).service_names()


def test_overrides_change_only_services_that_there_are(services: dict[str, Any]) -> None:
    """A misspelt one would be another service."""
    for path in FILES:
        assert set(read(path)["services"]) <= set(services) | ADDED.get(path.name, set()), path.name


def test_only_the_gateway_is_published_and_only_to_this_machine(services: dict[str, Any]) -> None:
    """Whoever wants more says so."""
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "gateway": ["127.0.0.1:8080:8080"]
    }


def test_networks_separate_services_that_need_not_connect(services: dict[str, Any]) -> None:
    """Nobody but the gateway is on the one that leads outside."""
    assert {name: set(service["networks"]) for name, service in services.items()} == NETWORKS
    assert read(MAIN)["networks"] == {"edge": {}, "control": {"internal": True}, "serving": {"internal": True}}


def test_services_that_are_added_are_published_to_this_machine_alone_and_read_mounts_of_ours() -> None:
    """Prometheus to nobody; what both mount of the repository exists, and cannot be written."""
    for file, names in ADDED.items():
        found = {name: each for name, each in read(ROOT / "deploy" / file)["services"].items() if name in names}
        assert set(found) == names
        ports = [port for service in found.values() for port in service.get("ports", ())]
        assert ports == PUBLISHED.get(file, [])
        for service in found.values():
            assert set(service["networks"]) <= {"edge", "control", "serving"}
            for volume in (volume for volume in service["volumes"] if volume.startswith(".")):
                assert (ROOT / volume.partition(":")[0]).exists()
                assert volume.endswith(":ro")


ALL_SERVICES = [*NETWORKS, *(name for names in ADDED.values() for name in sorted(names))]


@pytest.mark.parametrize("name", ALL_SERVICES)
def test_every_service_is_hardened_and_limited(services: dict[str, Any], name: str) -> None:
    """Read-only, without capabilities or new privileges; limits of memory, processors, processes; started again."""
    added = [read(ROOT / "deploy" / file)["services"][name] for file, names in ADDED.items() if name in names]
    service = added[0] if added else services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit", "tmpfs", "logging"} <= set(service)
    assert 0 < float(service["cpus"]) <= MACHINE_CPUS
    assert service["restart"] == {"migrate": "on-failure", "operator": "no"}.get(name, "unless-stopped")
    assert "privileged" not in service


def test_secrets_are_files_and_nothing_else(services: dict[str, Any]) -> None:
    """None is in a variable or in a URL."""
    declared = read(MAIN)["secrets"]
    for name, service in services.items():
        assert set(mounted(service).values()) <= set(declared), name
        for variable, value in (service.get("environment") or {}).items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE")
            assert "@" not in str(value) or ":" not in str(value).partition("//")[2].partition("@")[0]
    assert all(set(secret) == {"file"} for secret in declared.values())


SECRETS = {
    "postgres": {"ledger_password": "ledger_password"},
    "redis": {"broker_password": "broker_password"},
    "migrate": {
        "ledger_password": "ledger_password",
        "gateway_ledger_password": "gateway_ledger_password",
        "scheduler_ledger_password": "scheduler_ledger_password",
        "trainer_ledger_password": "trainer_ledger_password",
    },
    "modelserver": {},
    "gateway": {
        "ledger_password": "gateway_ledger_password",
        "broker_password": "broker_password",
        "key_secret": "key_secret",
    },
    "scheduler": {"ledger_password": "scheduler_ledger_password", "broker_password": "broker_password"},
    "trainer": {"ledger_password": "trainer_ledger_password", "broker_password": "broker_password"},
    "operator": {"ledger_password": "gateway_ledger_password", "key_secret": "key_secret", "key": "key"},
}
"""Files in each container, and the secrets that they hold."""


def mounted(service: dict[str, Any]) -> dict[str, str]:
    """Secrets of a service by the names of their files."""
    given = (
        ({"source": each, "target": each} if isinstance(each, str) else each) for each in service.get("secrets", ())
    )
    return {each["target"]: each["source"] for each in given}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_container_can_read_the_secrets_that_it_needs_and_no_other(services: dict[str, Any], name: str) -> None:
    """The trainer runs the code of models: neither the secret of the keys, nor a key, nor a role that sees them."""
    expected = {f"modelyard_{target}": f"modelyard_{source}" for target, source in SECRETS[name].items()}
    assert mounted(services[name]) == expected


@pytest.mark.parametrize("name", ["gateway", "scheduler", "trainer", "operator"])
def test_each_process_has_a_role_of_its_own_in_the_database(services: dict[str, Any], name: str) -> None:
    """One that `modelyard migrate` makes, with the password of that role; nobody is the tables' owner."""
    role = make_url(services[name]["environment"]["MODELYARD_LEDGER_URL"]).username
    assert role == {"operator": "modelyard_gateway"}.get(name, f"modelyard_{name}")
    assert role in ROLES
    assert mounted(services[name])["modelyard_ledger_password"] == f"{role}_ledger_password"


def test_roles_get_their_passwords_from_secrets_of_the_migration(services: dict[str, Any]) -> None:
    """One for each role."""
    names = {secret.removeprefix("modelyard_") for secret in mounted(services["migrate"])}
    assert names - {"ledger_password"} == {f"{role.removeprefix('modelyard_')}_ledger_password" for role in ROLES}
    settings = MigrationSettings(**dict.fromkeys(names, "secret"))
    assert set(settings.passwords) == set(ROLES)


def test_every_process_that_stays_up_has_a_health_check(services: dict[str, Any]) -> None:
    """In the compose file: an image in OCI's format has none. Those of our own are the ones of their images."""
    checked = {name for name, service in services.items() if "healthcheck" in service}
    (serving,) = read(SERVING)["services"].values()
    assert checked == set(services) - {"migrate", "operator", "modelserver"}
    assert "healthcheck" in serving
    for name in ("gateway", "trainer"):
        image = (ROOT / "deploy" / name / "Dockerfile").read_text()
        test = services[name]["healthcheck"]["test"]
        assert f"CMD {json.dumps(test[1:])}" in image, name


def test_operators_have_a_container_of_their_own(services: dict[str, Any]) -> None:
    """It runs only while somebody uses it, and is not in what `up` starts."""
    operator = services["operator"]
    assert (operator["profiles"], operator["entrypoint"]) == (["operator"], ["modelyard"])
    assert "ports" not in operator
    assert "depends_on" not in operator


def test_settings_of_containers_are_settings_of_processes(services: dict[str, Any]) -> None:
    """A variable that nobody reads is a mistake."""
    for name, kind in KINDS.items():
        for variable in services[name]["environment"]:
            field = variable.removeprefix("MODELYARD_").lower()
            known = {*GatewaySettings.model_fields, *kind.model_fields} | ({"url"} if name == "operator" else set())
            assert field in known, (name, variable)


def test_the_model_server_stops_after_the_gateway(services: dict[str, Any]) -> None:
    """Compose stops in the reverse order of dependence; nothing is in flight when it stops."""
    assert services["gateway"]["depends_on"]["modelserver"] == {"condition": "service_healthy"}
    assert services["modelserver"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_grace_is_longer_than_draining(services: dict[str, Any]) -> None:
    """Each process ends by itself before it is killed."""
    seconds = {
        name: int(service["stop_grace_period"][:-1])
        for name, service in services.items()
        if "stop_grace_period" in service
    }
    environment = {name: services[name]["environment"] for name in ("gateway", "trainer")}
    assert seconds["gateway"] >= float(environment["gateway"]["MODELYARD_DRAIN_WAIT_S"]) + 20 + 10
    assert seconds["trainer"] >= float(environment["trainer"]["MODELYARD_DRAIN_S"]) + 20


def test_code_of_this_folder_takes_the_place_of_the_images_code(services: dict[str, Any]) -> None:
    """Each mount is a package where the wheel has it, in every service of ours: elsewhere it changes nothing."""
    dev = read(ROOT / "deploy/compose.dev.yml")["services"]
    ours = {name for name, service in services.items() if str(service.get("image", "")).startswith("modelyard/")}
    assert ours | {"modelserver"} == {name for name, service in dev.items() if "volumes" in service}
    links = {path.name for path in (ROOT / "modelyard").iterdir() if path.is_symlink()}
    for name in sorted(ours | {"modelserver"}):
        mounts = [volume.split(":") for volume in dev[name]["volumes"]]
        assert {mode for _, _, mode in mounts} == {"ro"}, name
        for source, target, _ in mounts:
            package = PurePosixPath(target).relative_to("/app/code")
            assert (ROOT / package / "__init__.py").samefile(ROOT / source / "__init__.py"), (name, source)
        assert links <= {PurePosixPath(target).name for _, target, _ in mounts}, name


def test_code_lies_in_every_image_where_python_looks_for_it() -> None:
    """And where `deploy/compose.dev.yml` lays this folder over it."""
    for name in ("gateway", "trainer", "modelserver"):
        image = (ROOT / "deploy" / name / "Dockerfile").read_text()
        assert "--target /app/code /dist/*.whl" in image, name
        assert " PYTHONPATH=/app/code " in image, name


# --- images -----------------------------------------------------------------------------------------------------------


def test_images_bear_the_release(tmp_path: Path) -> None:
    """The label cannot be computed: it is held to the package's version here."""
    del tmp_path
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for path in (ROOT / "deploy").glob("*/Dockerfile"):
        assert f"ARG VERSION={version} REVISION=\n" in path.read_text(), path


def test_trainer_and_model_server_share_their_packages() -> None:
    """Line by line, or an engine keeps two gigabytes twice."""

    def packages(name: str) -> str:
        text = (ROOT / "deploy" / name / "Dockerfile").read_text()
        return text[text.index("ARG PYTHON=") : text.index("ENV PATH=")]

    assert packages("trainer") == packages("modelserver")


def test_a_build_sees_what_it_needs_and_no_secret() -> None:
    """Everything is shut out, then named."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert not any("secret" in line for line in lines)
