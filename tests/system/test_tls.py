"""TLS everywhere: broker, ledger, model server and gateway by real processes, each with a certificate of its own."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError

from modelyard.models.registry.store import Store
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.ledger import Ledger
from modelyard.services.settings import ServiceSettings
from tests.support.certificates import Authority, settings_of
from tests.support.ports import free_port
from tests.support.processes import START_S, WAIT_S, running
from tests.support.programs import running_fork
from tests.support.rehearsals import share_rehearsals
from tests.support.serving import HOST, MODEL, config_of, listens, put
from tests.support.tls_servers import tls_postgres, tls_redis
from tests.support.training import TRAINED_S
from tests.support.waiting import wait_until
from tests.system.conftest import folders

NEURON = "neuron"


@dataclass
class Secured:
    """A model server and a gateway that speak TLS alone; whoever calls the first shows a certificate."""

    authority: Authority
    stack: ExitStack
    forks: ForkServer
    home: Path
    port: int
    serving_port: int

    @property
    def serving(self) -> str:
        return f"{HOST}:{self.serving_port}"

    def start_model_server(self, config: Path) -> None:
        files = self.authority.issue("modelserver")
        flags = [
            f"--port={self.serving_port}",
            f"--model_config_file={config}",
            "--allow_version_labels_for_unavailable_models",
            f"--tls_certificate_file={files.certificate}",
            f"--tls_key_file={files.key}",
            f"--tls_client_ca_file={self.authority.file}",
        ]
        self.stack.enter_context(running_fork(self.forks, self.home / "modelserver.log", "modelserver", *flags))

    def variables(self, who: str) -> dict[str, str]:
        """Of a process that connects to the model server."""
        return {
            **settings_of(self.authority.issue(who)),
            "MODELYARD_SERVING": self.serving,
            "MODELYARD_SERVING_TLS": "true",
            "MODELYARD_STORE": str(self.home / "store"),
            "MODELYARD_WORK_DIR": str(self.home / "work"),
        }

    def start(self, program: str, variables: dict[str, str]) -> None:
        """A process of its own: one that has TensorFlow already, as a fork, could speak no TLS to PostgreSQL."""
        log = self.home / f"{program.rpartition('.')[2]}.log"
        self.stack.enter_context(running(log, program, **variables))

    def start_gateway(self, **more: str) -> httpx.Client:
        """By HTTPS."""
        files = self.authority.issue("gateway-https")
        own = {
            "MODELYARD_PORT": str(self.port),
            "MODELYARD_HTTPS_CERTIFICATE": str(files.certificate),
            "MODELYARD_HTTPS_KEY": str(files.key),
        }
        variables = self.variables("gateway") | own | more
        self.start("modelyard.services.gateway", variables)
        wait_until(lambda: listens(self.port), START_S, "the gateway")
        context = ssl.create_default_context(cafile=str(self.authority.file))
        url = f"https://{HOST}:{self.port}"
        return self.stack.enter_context(httpx.Client(base_url=url, verify=context, timeout=60, trust_env=False))

    def require_closed(self) -> None:
        """Neither the gateway nor the model server has a word for who comes without TLS, or without a certificate."""
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{HOST}:{self.port}/healthz", trust_env=False)
        for files in (None, TlsFiles(self.authority.file)):
            with closing(ServingClient(self.serving, files)) as client, pytest.raises(ServingFailed):
                client.status(MODEL, WAIT_S)


@pytest.fixture
def secured(tmp_path: Path, forks: ForkServer) -> Iterator[Secured]:
    with ExitStack() as stack:
        yield Secured(Authority(tmp_path / "certificates"), stack, forks, tmp_path, free_port(), free_port())


def predict(client: httpx.Client, model: str, instance: Any) -> httpx.Response | None:
    """None while it is being loaded."""
    response = client.post(f"/v1/models/{model}:predict", json={"instances": [instance]})
    return response if response.status_code == httpx.codes.OK else None


def test_predictions_go_by_tls_from_client_to_model_server(secured: Secured, made: Path) -> None:
    """Both ways in are closed to who does without."""
    put(made / MODEL / "1", secured.home / "models" / MODEL / "1")
    config = secured.home / "models.config"
    config.write_text(config_of(secured.home / "models", MODEL))
    secured.start_model_server(config)
    client = secured.start_gateway(MODELYARD_EXTERNAL_MODELS=MODEL)
    answer = wait_until(lambda: predict(client, MODEL, 1.0), START_S, "a prediction")
    assert answer.json() == {"predictions": [1.5]}
    secured.require_closed()


@pytest.fixture
def everything(secured: Secured, known: Path) -> Iterator[tuple[httpx.Client, str, int]]:
    """A whole system; the ledger's URL and the broker's port, for who tries them without."""
    put(known, secured.home / "store")
    share_rehearsals(secured.home / "work")
    authority, stack = secured.authority, secured.stack
    broker_port = stack.enter_context(tls_redis(secured.home, authority.issue("redis")))
    ledger_url = stack.enter_context(tls_postgres(authority.issue("postgres")))
    shared = {"MODELYARD_BROKER_URL": f"rediss://{HOST}:{broker_port}/0", "MODELYARD_LEDGER_URL": ledger_url}
    migrate = authority.issue("migrate")
    settings = ServiceSettings(
        ledger_url=ledger_url, tls_ca=migrate.ca, tls_certificate=migrate.certificate, tls_key=migrate.key
    )
    with closing(Ledger(settings.ledger)) as ledger:
        ledger.migrate({})
    store = Store(secured.home / "store")
    store.prepare()
    config = store.root / "models.config"
    if not config.exists():
        config.write_text("model_config_list { }")
    secured.start_model_server(config)
    client = secured.start_gateway(**shared)
    for program in ("trainer", "scheduler"):
        variables = secured.variables(program) | shared | {"MODELYARD_DRAIN_S": "1"}
        secured.start(f"modelyard.services.{program}", variables)
    yield client, ledger_url, broker_port
    assert folders(secured.home / "store", "*.staging-*") == []


@pytest.mark.long
def test_trained_served_and_rolled_back_with_tls_everywhere(
    secured: Secured, everything: tuple[httpx.Client, str, int]
) -> None:
    """By Redis, PostgreSQL, our model server and HTTPS; each is closed to who comes without TLS or a certificate."""
    client, ledger_url, broker_port = everything
    for version in (1, 2):
        job = client.post("/api/jobs", json={"model": NEURON, "data": "sample"}).raise_for_status().json()["id"]

        def find_end(job: str = job) -> Any:
            now = client.get(f"/api/jobs/{job}").raise_for_status().json()
            return now if now["state"] not in ("queued", "running", "publishing") else None

        ended = wait_until(find_end, TRAINED_S, f"job {version}")
        assert ended["result"]["promotion"]["promoted"], ended
        assert ended["result"]["promotion"]["parity"] is not None  # it was asked by TLS
        answer = wait_until(lambda: predict(client, NEURON, [1.0]), WAIT_S, "a prediction")
        assert answer.headers["X-Model-Version"] == str(version)
    client.post(f"/api/models/{NEURON}:rollback", json={"reason": "a test"}).raise_for_status()
    answer = wait_until(lambda: predict(client, NEURON, [1.0]), WAIT_S, "a prediction")
    assert answer.headers["X-Model-Version"] == "1"
    secured.require_closed()
    for options in ({}, {"ssl": True, "ssl_ca_certs": str(secured.authority.file)}):
        with pytest.raises(RedisError), Redis(HOST, broker_port, **options) as redis:
            redis.ping()
    plain = ledger_url.replace("postgresql+psycopg", "postgresql")
    for how in ("sslmode=disable", f"sslmode=verify-full&sslrootcert={secured.authority.file}"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{plain}?{how}", connect_timeout=10)
