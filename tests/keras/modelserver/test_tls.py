"""The model server by TLS: whom it shows itself to, whom it lets in, and how its certificates are exchanged."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.modelserver.errors import InvalidConfig
from modelyard.services.modelserver.server import ModelServer
from modelyard.services.modelserver.settings import Settings, parse_flags
from tests.support.certificates import Authority
from tests.support.modelserver import TIMEOUT_S, Blocking, Store, eventually
from tests.support.ports import held_port
from tests.support.repository import ROOT
from tests.support.tls_server import tls_server

NO_MODEL = grpc.StatusCode.NOT_FOUND
AWAY = grpc.StatusCode.UNAVAILABLE
Start = Callable[..., int]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers without models; returns the port."""
    config, started = tmp_path / "models.config", []
    config.write_text(Store.text())

    def run(**flags: Any) -> int:
        server = ModelServer(Settings(port=0, model_config_file=config, **flags), list, start_loader=Blocking())
        started.append(server)
        return server.start()

    yield run
    for server in started:
        server.stop(grace_s=0).wait(TIMEOUT_S)


def flags_of(files: TlsFiles, client_ca: Path | None = None) -> dict[str, Any]:
    return {"tls_certificate_file": files.certificate, "tls_key_file": files.key, "tls_client_ca_file": client_ca}


def ask(address: str, files: TlsFiles | None) -> grpc.StatusCode:
    """What it says of a model that it does not have; UNAVAILABLE: nothing."""
    with closing(ServingClient(address, files)) as client, pytest.raises(ServingFailed) as failed:
        client.status("nobody", TIMEOUT_S)
    return failed.value.code


def test_it_lets_in_who_shows_a_certificate_of_its_authority(
    authority: Authority, stranger: Authority, start: Start
) -> None:
    """Nobody else: without one, with another's, without TLS."""
    port = start(**flags_of(authority.issue("modelserver"), authority.file))
    address, foreign = f"127.0.0.1:{port}", stranger.issue("gateway")
    assert ask(address, authority.issue("gateway")) is NO_MODEL
    for files in (TlsFiles(authority.file), TlsFiles(authority.file, foreign.certificate, foreign.key), None):
        assert ask(address, files) is AWAY


def test_without_an_authority_of_clients_all_are_let_in_that_believe_it(authority: Authority, start: Start) -> None:
    """By TLS alone."""
    address = f"127.0.0.1:{start(**flags_of(authority.issue('modelserver')))}"
    assert ask(address, TlsFiles(authority.file)) is NO_MODEL
    assert ask(address, None) is AWAY


def test_its_socket_stays_plain(authority: Authority, start: Start, tmp_path: Path) -> None:
    """For processes of the same machine."""
    start(**flags_of(authority.issue("modelserver"), authority.file), grpc_socket_path=tmp_path / "s")
    assert ask(f"unix:{tmp_path}/s", None) is NO_MODEL


def test_certificates_are_exchanged_without_a_restart(
    authority: Authority, stranger: Authority, start: Start, tmp_path: Path
) -> None:
    """A pair that does not fit together changes nothing; the next one counts for new connections."""
    own, foreign = Authority(tmp_path / "a", ca=authority.ca), stranger.issue("gateway")
    shown = own.issue("modelserver")
    assert shown.key
    address = f"127.0.0.1:{start(**flags_of(shown))}"
    kept = shown.key.read_bytes()
    shown.key.write_bytes(foreign.key.read_bytes() if foreign.key else b"")
    assert ask(address, TlsFiles(authority.file)) is NO_MODEL
    shown.key.write_bytes(kept)
    Authority(tmp_path / "a", ca=stranger.ca).issue("modelserver")
    eventually(lambda: ask(address, TlsFiles(stranger.file)) is NO_MODEL, "the new certificate")
    assert ask(address, TlsFiles(authority.file)) is AWAY


def test_health_has_a_plain_port_for_those_who_know_no_tls(authority: Authority, start: Start) -> None:
    """It answers nothing else."""
    with held_port() as port:
        start(**flags_of(authority.issue("modelserver"), authority.file), health_port=port)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            def is_serving() -> bool:
                reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
                return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

            eventually(is_serving, "SERVING")
        assert ask(f"127.0.0.1:{port}", None) is grpc.StatusCode.UNIMPLEMENTED


def test_tensorflow_servings_file_is_taken_as_our_script_writes_it(
    authority: Authority, start: Start, tmp_path: Path
) -> None:
    """`deploy/serving/start-tls` writes it, and starts a model server with its flags."""
    files = authority.issue("modelserver")
    for name, path in (("tls.crt", files.certificate), ("tls.key", files.key), ("ca.crt", files.ca)):
        assert path
        (tmp_path / name).write_bytes(path.read_bytes())
    program, config = tmp_path / "tensorflow_model_server", tmp_path / "ssl.txt"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    variables = {
        "CERTIFICATES": str(tmp_path),
        "SSL_CONFIG_FILE": str(config),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    for command in (["--port=8500"], ["tensorflow_model_server", "--port=8500"]):
        done = subprocess.run(
            ["sh", ROOT / "deploy/serving/start-tls", *command],
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"--port=8500 --ssl_config_file={config}\n"
    assert config.stat().st_mode & 0o777 == 0o600
    address = f"127.0.0.1:{start(ssl_config_file=config)}"
    assert ask(address, authority.issue("gateway")) is NO_MODEL
    assert ask(address, TlsFiles(authority.file)) is AWAY


def test_files_that_are_of_no_use_are_named_at_the_start(authority: Authority, start: Start, tmp_path: Path) -> None:
    """With what is wrong, and nothing of what is in them."""
    files = authority.issue("modelserver")
    assert files.key
    cases: dict[str, dict[str, Any]] = {
        "TLS: .*none cannot be read": flags_of(TlsFiles(None, files.certificate, tmp_path / "none")),
        "does not belong to the certificate": flags_of(TlsFiles(None, files.certificate, authority.issue("x").key)),
        "holds no certificate": flags_of(files, files.key),
    }
    for words, flags in cases.items():
        with pytest.raises(InvalidConfig, match=words):
            start(**flags)
    config = tmp_path / "ssl.txt"
    config.touch(0o600)
    for text, words in (
        ('server_key: "hunter2', "is no text-format SSLConfig"),
        ('server_key: "hunter2"', "lacks server_key or server_cert"),
        ('server_key: "hunter2" server_cert: "x" client_verify: true', "no custom_ca to verify by"),
    ):
        config.write_text(text)
        with pytest.raises(InvalidConfig, match=words) as refused:
            start(ssl_config_file=config)
        assert "hunter2" not in str(refused.value)
    config.chmod(0o644)
    with pytest.raises(InvalidConfig, match="others can use"):
        start(ssl_config_file=config)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tls_key_file=/k"], "expected --tls_certificate_file and --tls_key_file together"),
        (["--tls_client_ca_file=/c"], "expected --tls_certificate_file and --tls_key_file together"),
        (["--tls_certificate_file=/c", "--tls_key_file=/k", "--ssl_config_file=/s"], "received both"),
        (["--tls_certificate_file=/c", "--tls_key_file=/k", "--bind_address=0.0.0.0"], "--tls_client_ca_file"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A certificate alone says nothing of clients."""
    with pytest.raises(SystemExit):
        parse_flags(["--model_config_file=/x", *flags])
    assert words in capsys.readouterr().err


LEDGER = """
import sys
from modelyard.services.gateway.__main__ import load_driver
from modelyard.services.ledger import Ledger

load_driver(sys.argv[1])
import tensorflow
from modelyard.models.errors import StorageFailed

try:
    Ledger(sys.argv[1]).prepare()
except StorageFailed as error:
    print(error)
"""


@pytest.mark.long
def test_a_gateway_with_a_model_server_inside_speaks_tls_to_its_ledger(
    authority: Authority, stranger: Authority
) -> None:
    """TensorFlow's library has another OpenSSL's functions: a driver that is loaded after it ends the process."""
    with tls_server(stranger.issue("postgres"), postgresql=True) as server:
        url = f"postgresql+psycopg://m@127.0.0.1:{server.port}/m?sslmode=verify-full&sslrootcert={authority.file}"
        done = subprocess.run([sys.executable, "-c", LEDGER, url], capture_output=True, text=True, check=False)
    assert "certificate verify failed" in done.stdout, done.stderr
    assert done.returncode == 0


def test_clients_that_are_known_may_come_from_anywhere() -> None:
    """So no leave is needed for an address that other machines reach."""
    own = ["--tls_certificate_file=/c", "--tls_key_file=/k", "--tls_client_ca_file=/a", "--bind_address=0.0.0.0"]
    assert parse_flags(["--model_config_file=/x", *own]).bind_address == "0.0.0.0"
