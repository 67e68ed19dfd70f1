"""A server that is spoken to by TLS, as far as a client's first words: what it was told, and by whom."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from modelyard.models.tfserving.tls_files import TlsFiles

SSL_REQUEST_BYTES = 8
READ_BYTES = 65536
GRPC = "h2"
ANSWERS = {b"*": b"+PONG\r\n", b"P": b"+PONG\r\n"}
"""To a Redis client's command, whether in its protocol or as a line."""


@dataclass
class TlsServer:
    """Says yes to whatever a Redis client says, and nothing to others."""

    files: TlsFiles | None
    """What it shows; None: it speaks no TLS."""
    needs_client: bool = False
    """Whether clients have to show a certificate of the same authority."""
    postgresql: bool = False
    """Whether TLS is asked for first, as PostgreSQL's clients do."""
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    heard: list[bytes] = field(default_factory=list)
    """What was said to it in confidence."""
    overheard: list[bytes] = field(default_factory=list)
    """What was said without TLS, but for the wish for it."""

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return  # closed: the test is over
            with connection, suppress(OSError):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if self.postgresql:
            connection.recv(SSL_REQUEST_BYTES)
            connection.sendall(b"S" if self.files else b"N")
        if self.files is None:
            self.overheard += filter(None, [connection.recv(READ_BYTES)])
            connection.sendall(b"-ERR\r\n")
            return
        with self._make_context().wrap_socket(connection, server_side=True) as client:
            if client.selected_alpn_protocol() == GRPC:
                client.sendall(b"\0")  # a server of HTTP/2 speaks first
            # TLS 1.3: only what the client sends says that it has accepted the certificate.
            while received := client.recv(READ_BYTES):
                self.heard.append(received)
                if self.postgresql:
                    return
                client.sendall(ANSWERS.get(received[:1], b"R") * max(1, received.count(b"*")))

    def _make_context(self) -> ssl.SSLContext:
        assert self.files
        assert self.files.certificate
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.files.ca))
        context.set_alpn_protocols([GRPC])
        context.load_cert_chain(self.files.certificate, self.files.key)
        context.verify_mode = ssl.CERT_REQUIRED if self.needs_client else ssl.CERT_NONE
        return context


@contextmanager
def tls_server(files: TlsFiles | None, *, needs_client: bool = False, postgresql: bool = False) -> Iterator[TlsServer]:
    """Until the end of the block."""
    found = TlsServer(files, needs_client, postgresql)
    thread = threading.Thread(target=found.serve, daemon=True)
    thread.start()
    with closing(found.listener):
        yield found
        found.listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
