"""What is wrong with a connection over TLS, in a sentence: the libraries say little, and each another thing."""

import socket
import ssl
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from modelyard.models.tfserving.tls_files import TlsFiles

TIMEOUT_S, REFUSAL_S = 3.0, 0.3
"""For an answer, and for a refusal, which comes unasked."""
Opening = Literal["redis", "postgresql", "grpc"]
SSL_REQUEST, SSL_YES = struct.pack("!ii", 8, 80877103), b"S"
"""PostgreSQL 15, 55.7: SSLRequest."""
PROTOCOL = 196608
FIRST_WORDS: dict[Opening, bytes] = {"redis": b"PING\r\n", "grpc": b"", "postgresql": b""}
UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
"""Of OpenSSL's x509_vfy.h, as are the next two."""
EXPIRED, NOT_YET, OTHER_NAME = 10, 9, (62, 63, 64)
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_EOF_WHILE_READING")
CLOSED = "EOF occurred"
WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
REFUSES_OURS = (
    "UNKNOWN_CA",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "UNSUPPORTED_CERTIFICATE",
)


class Unprotected(Exception):
    """There is no such connection; the text says why, in a sentence without a subject."""


@dataclass(frozen=True)
class Endpoint:
    """Where, and how a conversation begins there."""

    host: str
    port: int
    opening: Opening
    name: str | None = None
    """That its certificate has to be for, if not for the host."""


@dataclass(frozen=True)
class Protected:
    """A connection that was made."""

    version: str
    """Of TLS, such as ``TLSv1.3``."""
    until: datetime
    """When its certificate expires."""


def probe(endpoint: Endpoint, files: TlsFiles) -> Protected:
    """Connects, and shakes hands as the clients do.

    Raises:
        Unprotected: with the reason.
    """
    try:
        context = make_context(files)
        if endpoint.opening == "grpc":
            context.set_alpn_protocols(["h2"])
        with socket.create_connection((endpoint.host, endpoint.port), TIMEOUT_S) as plain:
            if endpoint.opening == "postgresql":
                require_tls(plain)
            with context.wrap_socket(plain, server_hostname=endpoint.name or endpoint.host) as secure:
                found, version = secure.getpeercert() or {}, secure.version()
                hear_first_words(secure, endpoint.opening)  # after which it may be closed
                until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)
                return Protected(version or "TLS", until)
    except ssl.SSLCertVerificationError as error:
        raise Unprotected(describe_certificate(error, endpoint, files)) from error
    except ssl.SSLError as error:
        raise Unprotected(describe_alert(error.reason or str(error), files)) from error
    except TimeoutError as error:
        raise Unprotected(f"does not answer within {TIMEOUT_S:g} s") from error
    except socket.gaierror as error:
        raise Unprotected(f"is not known by its name {endpoint.host}") from error
    except OSError as error:
        raise Unprotected(f"cannot be reached: {error.strerror or error}") from error


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """A client's, as strict as ours are."""
    context = ssl.create_default_context(cafile=str(files.ca) if files.ca else None)
    if files.certificate and files.key:
        context.load_cert_chain(files.certificate, files.key)
    return context


def require_tls(plain: socket.socket) -> None:
    """Raises ``Unprotected`` if a PostgreSQL does without."""
    plain.sendall(SSL_REQUEST)
    if plain.recv(1) != SSL_YES:
        raise Unprotected("speaks no TLS: ssl is off in its configuration")


def hear_first_words(secure: ssl.SSLSocket, opening: Opening) -> None:
    """Waits for what the server says first: by TLS 1.3 it refuses a client's certificate only after the handshake."""
    user = b"user\0modelyard\0\0"
    words = struct.pack("!ii", 8 + len(user), PROTOCOL) + user if opening == "postgresql" else FIRST_WORDS[opening]
    if hears(secure, REFUSAL_S) or not words:
        return
    secure.sendall(words)
    hears(secure, TIMEOUT_S)


def hears(secure: ssl.SSLSocket, within_s: float) -> bool:
    """Whether the server says something; raises ``ssl.SSLError`` if it refuses."""
    secure.settimeout(within_s)
    try:
        return bool(secure.recv(1))
    except TimeoutError:
        return False


def describe_certificate(error: ssl.SSLCertVerificationError, endpoint: Endpoint, files: TlsFiles) -> str:
    """Why its certificate is not believed."""
    code = error.verify_code
    if code in UNKNOWN_AUTHORITY:
        return f"shows a certificate of no authority in {files.ca or 'the system'}"
    if code == EXPIRED:
        return "shows a certificate that has expired"
    if code == NOT_YET:
        return "shows a certificate that is not valid yet: compare the clocks"
    if code in OTHER_NAME:
        return f"shows a certificate for another name than {endpoint.name or endpoint.host}"
    return f"shows a certificate that is not believed: {error.verify_message}"


def describe_alert(reason: str, files: TlsFiles) -> str:
    """Why there was no handshake."""
    if any(word in reason for word in WANTS_CERTIFICATE) and not files.certificate:
        return "wants a certificate of its clients: MODELYARD_TLS_CERTIFICATE and MODELYARD_TLS_KEY"
    if any(word in reason for word in REFUSES_OURS):
        return f"does not believe the certificate {files.certificate}: {reason.lower().replace('_', ' ')}"
    if files.certificate and CLOSED in reason:
        return f"closes the connection; it may not believe the certificate {files.certificate}"
    if any(word in reason for word in NO_TLS):
        return "speaks no TLS"
    return f"breaks off the handshake: {reason.lower().replace('_', ' ')}"
