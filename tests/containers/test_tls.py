"""The system with deploy/compose.tls.yml: broker, ledger and model server speak TLS alone, to who shows a certificate.

In order: the last test restarts what the first ones need.
"""

import secrets
from collections.abc import Iterator
from functools import partial

import pytest

from tests.containers.conftest import System, make_secrets
from tests.support.engine import FILES, Engine, wait_for
from tests.support.ports import free_port

pytestmark = pytest.mark.usefixtures("image_build_s")
SERVICES = ("redis", "postgres", "modelserver", "scheduler", "trainer", "gateway")
USERS = {"redis": "redis:7-bookworm", "postgres": "postgres:15-bookworm"}
MODEL = "neuron"
RECOVERS_S, TRAINED_S = 300.0, 1200.0
TRIES = {
    "redis": "import redis; print(redis.Redis('redis', 6379, socket_timeout=5, {options}).ping())",
    "postgres": "import psycopg; psycopg.connect('host=postgres user=modelyard connect_timeout=5 {options}')",
    "modelserver": (
        "import grpc; channel = grpc.{options}; grpc.channel_ready_future(channel).result(5); print('ready')"
    ),
}
CA = "/certificates/ca.crt"
WITHOUT = [
    ("redis", ""),
    ("redis", f"ssl=True, ssl_ca_certs='{CA}'"),
    ("postgres", "sslmode=disable"),
    ("postgres", f"sslmode=verify-full sslrootcert={CA}"),
    ("modelserver", "insecure_channel('modelserver:8500')"),
]
"""What somebody in the same network may try who has no certificate: without TLS, and with it."""


@pytest.fixture(scope="module")
def tls_engine(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A project of its own, with certificates as docs/deploy.md makes them."""
    folder = make_secrets(tmp_path_factory.mktemp("tls-secrets"))
    certificates = tmp_path_factory.mktemp("certificates")
    variables = {"MODELYARD_CERTIFICATES": str(certificates), "MODELYARD_FIRST_MODELS": MODEL}
    files = (*FILES, "deploy/compose.tls.yml", "tests/containers/tls.yml")
    found = Engine(engine_name, f"mytls{secrets.token_hex(2)}", folder, free_port(), files, variables)
    groups = [f"{user.upper()}_GROUP={find_group(found, image, user)}" for user, image in USERS.items()]
    found.script("env", *groups, "deploy/make-certificates", str(certificates))
    yield found
    found.destroy()


def find_group(engine: Engine, image: str, user: str) -> str:
    """The number of a user's group in an image."""
    return engine.run("run", "--rm", "--entrypoint", "id", image, "-g", user).stdout.decode().strip()


@pytest.fixture(scope="module")
def tls_system(tls_engine: Engine) -> System:
    """From nothing to the first version serving."""
    system = System(tls_engine)
    tls_engine.compose("up", "-d")
    wait_for("the gateway", lambda: system.is_ok("/healthz"), RECOVERS_S)
    system.make_key()
    wait_for(f"{MODEL} 1", partial(system.serves, MODEL, 1), TRAINED_S, 2)
    return system


def test_every_service_is_healthy_by_tls(tls_system: System) -> None:
    """By its own check: that of Redis speaks TLS."""
    for service in SERVICES:
        wait_for(service, partial(tls_system.engine.healthy, service), RECOVERS_S)


def test_the_doctor_sees_certificates_on_every_connection(tls_system: System) -> None:
    """In the operator's container, as docs/deploy.md has it."""
    said = tls_system.engine.cli("doctor", check=False)
    for what in ("the broker at redis:6379", "the ledger at postgres:5432", "the model server at modelserver:8500"):
        assert f"{what}: TLSv1.3, its certificate is good until" in " ".join(said.split()), said


def test_a_version_is_trained_promoted_and_rolled_back_by_tls(tls_system: System) -> None:
    """Through broker, ledger and model server; parity is measured, so the trainer has asked the model server."""
    assert "succeeded" in tls_system.engine.cli("train", MODEL, "--set", "seed=7", "--wait")
    wait_for("version 2", partial(tls_system.serves, MODEL, 2), RECOVERS_S)
    newest = tls_system.get(f"/api/models/{MODEL}/rollout").json()["history"][0]
    assert newest["detail"]["parity"] is not None, newest
    tls_system.engine.cli("rollback", MODEL, "--reason", "a test")
    wait_for("version 1", partial(tls_system.serves, MODEL, 1), RECOVERS_S)


@pytest.mark.parametrize(("service", "options"), WITHOUT)
def test_nobody_is_let_in_without_a_certificate(tls_system: System, service: str, options: str) -> None:
    """From the trainer's container, which is in the same networks."""
    code = TRIES[service].format(options=options)
    done = tls_system.engine.run("exec", tls_system.engine.container("trainer"), "python", "-c", code, check=False)
    assert done.returncode, done.stdout
    for words in (
        b"ModuleNotFoundError",
        b"SyntaxError",
        b"assword",
        b"Authentication",
    ):  # refused before that is asked
        assert words not in done.stderr, done.stderr


def test_a_model_server_that_is_killed_comes_back_by_tls(tls_system: System) -> None:
    """With the file that its start wrote anew."""
    engine = tls_system.engine
    engine.run("kill", engine.container("modelserver"))
    wait_for("its end", lambda: not engine.running("modelserver"), 60, 0.1)
    engine.run("start", engine.container("modelserver"))
    wait_for("ready again", tls_system.ready, RECOVERS_S)
    wait_for("version 1", partial(tls_system.serves, MODEL, 1), RECOVERS_S)
