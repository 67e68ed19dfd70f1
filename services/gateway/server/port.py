"""The gateway's port: bound once before granian does, whose error has no cause. Light."""

import errno
import socket

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.settings import GatewaySettings

ANOTHER_ADDRESS = "choose another address with MODELYARD_HOST or MODELYARD_PORT"


class PortTaken(ModelyardError):
    """The address cannot be listened on."""


def bind_address(settings: GatewaySettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def check_port(settings: GatewaySettings) -> None:
    """Binds the port before granian does, whose error has no cause.

    Raises:
        PortTaken: the text has the remedy.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:  # it does not listen: a connection would be lost
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if settings.gateway_number:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            cause = "another process listens there; stop it, or choose another port with MODELYARD_PORT"
        else:
            cause = f"{error.strerror}; {ANOTHER_ADDRESS}"
        raise make_port_error(settings, cause) from error


def make_port_error(settings: GatewaySettings, cause: str) -> PortTaken:
    return PortTaken(f"cannot listen on {bind_address(settings)}: {cause}")
