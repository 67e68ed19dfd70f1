"""The compose files, as a parser of the specification reads them, and what they promise."""

import json
import re
import shutil
import ssl
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from sqlalchemy import make_url

from modelyard.services.cli.settings import ClientSettings, MigrationSettings
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger.sql.roles import ROLES
from modelyard.services.modelserver.batching.parameters import read_parameters
from modelyard.services.modelserver.settings import Settings as ModelServerSettings
from modelyard.services.modelserver.settings import parse_flags
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import ServiceSettings, Settings
from modelyard.services.trainer.settings import TrainerSettings
from tests.support.repository import ROOT

MAIN, SERVING = ROOT / "docker-compose.yml", ROOT / "deploy/serving/service.yml"
FILES = (MAIN, SERVING, *sorted((ROOT / "deploy").glob("compose.*.yml")))
VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}")

TENSORFLOW_SERVING = {
    line
    for line in (ROOT / "tests/slim/tensorflow_serving_flags.txt").read_text().splitlines()
    if not line.startswith("#")
}

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


def read(path: Path) -> dict[str, Any]:
    """With the defaults in the places of variables."""
    found: dict[str, Any] = yaml.safe_load(VARIABLE.sub(lambda match: match[2] or "", path.read_text()))
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(MAIN)["services"]
    return found


def flags(path: Path) -> dict[str, str]:
    command = [part for part in read(path)["services"]["modelserver"]["command"] if part.startswith("--")]
    return {name.removeprefix("--"): value for name, _, value in (part.partition("=") for part in command)}


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


TLS = read(ROOT / "deploy/compose.tls.yml")["services"]
FILES_OF_TLS = {"CA": "/certificates/ca.crt", "CERTIFICATE": "/certificates/tls.crt", "KEY": "/certificates/tls.key"}


@pytest.mark.parametrize("name", ["gateway", "trainer", "scheduler", "migrate", "operator"])
def test_with_tls_every_client_has_a_certificate_and_no_leave_to_do_without(name: str) -> None:
    """Of its own; the operator's is the gateway's, as its role in the database."""
    variables = TLS[name]["environment"]
    assert {key: variables[f"MODELYARD_TLS_{key}"] for key in FILES_OF_TLS} == FILES_OF_TLS
    assert (variables["MODELYARD_BROKER_URL"], variables["MODELYARD_ALLOW_PLAIN"]) == ("rediss://redis:6379/0", "")
    own = "gateway" if name == "operator" else name
    assert TLS[name]["volumes"] == [f"./certificates/{own}:/certificates:ro"]


def test_with_tls_every_server_shows_a_certificate(services: dict[str, Any]) -> None:
    """And lets nobody in without; which process has whose key is in no doubt."""
    assert set(TLS) == set(services)
    for name in ("postgres", "redis", "modelserver"):
        assert f"./certificates/{name}:/certificates:ro" in TLS[name]["volumes"]
    assert {"ssl=on", "hba_file=/etc/modelyard/pg_hba.conf"} <= set(TLS["postgres"]["command"])
    assert TLS["modelserver"]["entrypoint"] == ["sh", "/etc/modelyard/start-tls"]
    script = (ROOT / "deploy/redis/start").read_text()
    assert {"port 0", "tls-port 6379", "tls-auth-clients yes"} <= set(re.split("[\n']", script))


def test_certificates_are_made_for_every_service(tmp_path: Path) -> None:
    """By names that the compose file has, all of one authority; a second run changes nothing."""
    if shutil.which("openssl") is None:
        pytest.skip("the script calls openssl")
    made = [
        subprocess.run([ROOT / "deploy/make-certificates", tmp_path], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    wanted = {name for name in TLS if name != "operator"}
    assert ({Path(line.removeprefix("made ")).name for line in made[0].splitlines()}, made[1]) == (wanted, "")
    for name in wanted:
        own = tmp_path / name
        ServiceSettings.load(tls_ca=own / "ca.crt", tls_certificate=own / "tls.crt", tls_key=own / "tls.key")
        context = ssl.create_default_context(cafile=str(own / "ca.crt"))
        assert (own / "ca.crt").read_bytes() == (tmp_path / "ca.crt").read_bytes()
        require_handshake(context, own, name)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def require_handshake(context: ssl.SSLContext, own: Path, name: str) -> None:
    """In memory: a client of the authority believes that it is called by this name."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(own / "tls.crt", own / "tls.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname=name)
    server = server_context.wrap_bio(there, back, server_side=True)
    for side in (client, server, client):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.version() == "TLSv1.3"


# --- TensorFlow Serving -----------------------------------------------------------------------------------------------


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


def test_no_call_of_the_gateway_is_too_large_for_a_batch() -> None:
    """TensorFlow Serving refuses one with more rows than the largest batch."""
    found = read_parameters(ROOT / "deploy/serving/batching.txt")
    assert found.max_batch_size >= GatewaySettings.model_fields["max_instances"].default


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
