"""Gateway and model server by TLS: over real gRPC, in this process."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from modelyard.models.registry.store import Store
from modelyard.models.tfserving.addresses import Server
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.gateway.serving.batching.calls import Target
from modelyard.services.gateway.serving.servers.grpc_replica import GrpcReplica
from modelyard.services.gateway.serving.servers.replicas import PREDICT, PredictCall
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.certificates import Authority
from tests.support.fakes import HALF_PLUS, FakeModelServer

X = {"vectors": np.ones((1, 1), np.float32)}
CALL = PredictCall(Target(HALF_PLUS, 1, "serving_default"), X)
TIMEOUT_S = 20.0


@contextmanager
def serving(store: Store, files: TlsFiles, client_ca: Path | None = None) -> Iterator[FakeModelServer]:
    """``client_ca``: of whom clients have to show a certificate."""
    assert files.certificate
    assert files.key
    pair = files.key.read_bytes(), files.certificate.read_bytes()
    credentials = grpc.ssl_server_credentials(
        [pair], client_ca.read_bytes() if client_ca else None, require_client_auth=client_ca is not None
    )
    with FakeModelServer(store, credentials) as server:
        yield server


def predict(server: str | Server, files: TlsFiles | None) -> dict[str, Any]:
    """By the client of commands and jobs."""
    with closing(ServingClient(server, files)) as client:
        return client.predict(HALF_PLUS, 1, "serving_default", X, TIMEOUT_S)


def post(store: Store, files: TlsFiles, *serving: str) -> int:
    """By a gateway with these settings; its answer's status."""
    given = {"tls_ca": files.ca, "tls_certificate": files.certificate, "tls_key": files.key, "serving_tls": True}
    app = create_app(GatewaySettings(store=store.root, serving=serving, **given))
    with closing(app.extensions["predictor"]):
        status = app.test_client().post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[1.0]]}).status_code
    return int(status)


def test_predictions_go_over_mutual_tls(filled: Store, authority: Authority) -> None:
    """By address and by a name, of the gateway's client and of that of jobs."""
    ours = authority.issue("gateway")
    with serving(filled, authority.issue("modelserver"), authority.file) as server:
        port = server.address.rpartition(":")[2]
        assert post(filled, ours, server.address) == 200
        assert post(filled, ours, f"dns:localhost:{port}") == 200
        assert predict(server.address, ours)["value"] == pytest.approx(np.array([[1.5]]))


@pytest.mark.parametrize("fault", ["authority", "name", "date"])
def test_a_server_that_is_not_believed_gets_no_prediction(
    filled: Store, authority: Authority, stranger: Authority, fault: str
) -> None:
    """Of another authority, for another name, expired: the gateway says that it is away."""
    shown = {
        "authority": stranger.issue("modelserver"),
        "name": authority.issue("elsewhere", "elsewhere.example"),
        "date": authority.issue("late", expired=True),
    }
    with serving(filled, shown[fault]) as server:
        assert post(filled, TlsFiles(authority.file), server.address) == 503
        with pytest.raises(ServingFailed) as failed:
            predict(server.address, TlsFiles(authority.file))
        assert server.calls == []
    assert failed.value.code is grpc.StatusCode.UNAVAILABLE


def test_the_name_that_stands_for_servers_is_the_one_that_is_checked(filled: Store, authority: Authority) -> None:
    """Not the address, which their certificate does not have."""
    with serving(filled, authority.issue("modelserver-only", "modelserver")) as server:
        files = TlsFiles(authority.file)
        assert predict(Server(server.address, "modelserver"), files)
        for wrong in (server.address, Server(server.address, "other")):
            with pytest.raises(ServingFailed):
                predict(wrong, files)


def test_a_client_without_a_certificate_is_not_let_in(filled: Store, authority: Authority, stranger: Authority) -> None:
    """Nor one with another authority's, nor one without TLS."""
    foreign = stranger.issue("gateway")
    with serving(filled, authority.issue("modelserver"), authority.file) as server:
        for files in (TlsFiles(authority.file), TlsFiles(authority.file, foreign.certificate, foreign.key), None):
            with pytest.raises(ServingFailed):
                predict(server.address, files)
        assert server.calls == []


def test_exchanged_certificates_are_read_once_a_connection_fails(
    filled: Store, authority: Authority, tmp_path: Path, stranger: Authority
) -> None:
    """Without a restart of the gateway: the first call after that says so, the next goes through."""
    own = Authority(tmp_path, ca=stranger.ca)
    ours = own.issue("gateway")
    known = TlsFiles(authority.file, ours.certificate, ours.key)

    async def ask() -> None:
        replica = GrpcReplica(server.address, tls=known)
        with pytest.raises(ServingFailed):
            await replica.call(PREDICT, CALL, TIMEOUT_S)
        Authority(tmp_path, ca=authority.ca).issue("gateway")
        for _ in range(100):
            try:
                assert await replica.call(PREDICT, CALL, TIMEOUT_S)
                break
            except ServingFailed:
                await asyncio.sleep(0.05)
        else:
            pytest.fail("the new certificate is not used")
        await replica.close()

    with serving(filled, authority.issue("modelserver"), authority.file) as server:
        asyncio.run(ask())


def test_a_file_that_is_gone_is_a_server_that_is_away(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ServingFailed, match=r"none\.pem cannot be read") as failed:
        predict("127.0.0.1:9", TlsFiles(tmp_path / "none.pem"))
    assert failed.value.code is grpc.StatusCode.UNAVAILABLE


def test_sockets_stay_plain(tmp_path: Path, authority: Authority) -> None:
    """Who may open the file is the system's affair."""
    with (
        pytest.raises(ServingFailed) as failed,
        closing(ServingClient(f"unix:{tmp_path}/none", TlsFiles(authority.file))) as client,
    ):
        client.status(HALF_PLUS, 1.0)
    assert "Ssl" not in str(failed.value)
