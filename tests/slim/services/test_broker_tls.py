"""A broker behind TLS: its certificate is checked by the real client, against a real TLS server."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.services.broker import QueueUnavailable, make_sender, require_broker
from modelyard.services.trainer.settings import TrainerSettings

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


@dataclass
class Broker:
    """Says yes to whatever a Redis client says, behind TLS."""

    certificate: Path
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    accepted: list[str] = field(default_factory=list)
    """TLS versions of connections whose handshake has succeeded."""

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.listener.getsockname()[1]}/0"

    def serve(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.certificate.with_name("key.pem"))
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return  # closed: the test is over
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as client:
                # TLS 1.3: only what the client sends says that it has accepted the certificate.
                while received := client.recv(65536):
                    self.accepted.append(client.version() or "")
                    client.sendall(b"+PONG\r\n" * received.count(b"*"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """With a certificate for 127.0.0.1 that nobody knows."""
    certificate = tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=broker"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(certificate), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    found = Broker(certificate)
    thread = threading.Thread(target=found.serve, daemon=True)
    thread.start()
    with closing(found.listener):
        yield found
        found.listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def connect(url: str) -> None:
    require_broker(make_sender(TrainerSettings.load(broker_url=url).broker))


def test_an_unknown_certificate_is_refused(broker: Broker) -> None:
    """Nothing is sent to it: neither a password nor a job."""
    with pytest.raises(QueueUnavailable):
        connect(broker.url)
    assert broker.accepted == []


def test_a_certificate_of_an_authority_that_is_named_is_accepted(broker: Broker) -> None:
    """By `ssl_ca_certs`; or any, where the URL says so itself."""
    connect(f"{broker.url}?ssl_ca_certs={broker.certificate}")
    assert broker.accepted
    broker.accepted.clear()
    connect(f"{broker.url}?ssl_cert_reqs=none")
    assert broker.accepted


def test_a_certificate_of_another_host_is_refused(broker: Broker) -> None:
    """Also where its authority is known."""
    with pytest.raises(QueueUnavailable):
        connect(f"{broker.url.replace('127.0.0.1', 'localhost')}?ssl_ca_certs={broker.certificate}")
    assert broker.accepted == []
