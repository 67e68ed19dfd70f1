"""URLs of the broker: those that kombu would read as they are meant."""

from urllib.parse import parse_qsl, urlsplit, urlunsplit

SOCKET_SCHEME = "redis+socket"
TLS_SCHEME = "rediss"
BROKER_SCHEMES = ("redis", TLS_SCHEME, SOCKET_SCHEME)
CERTIFICATE, CERTIFICATE_CHECKS = "ssl_cert_reqs", ("required", "optional", "none")
"""kombu's: whether a broker's certificate is checked."""
BROKER_FORMS = "redis://HOST:PORT/N, rediss://HOST:PORT/N or redis+socket:///PATH"
HOW_PASSWORDS = "a password with / ? # or @ is percent-encoded, or put into MODELYARD_BROKER_PASSWORD"


def check_broker_url(url: str) -> str:
    """The URL, if kombu would read it as it is meant; else raises ``ValueError``, whose text has nothing of it."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in BROKER_SCHEMES and parts.port != 0
    except ValueError:  # a port that is no number, as of a password with a slash
        known = False
    if not known or bool(parts.hostname) is (parts.scheme == SOCKET_SCHEME):
        raise ValueError(f"expected {BROKER_FORMS}; {HOW_PASSWORDS}")
    if parts.fragment or "@" in f"{parts.path}{parts.query}" or "@" in (parts.password or ""):
        raise ValueError(HOW_PASSWORDS)
    return require_certificate(url) if parts.scheme == TLS_SCHEME else url


def require_certificate(url: str) -> str:
    """A URL with TLS that says how the server's certificate is checked: kombu would accept any if it does not.

    Raises:
        ValueError: it says something that kombu would not understand, and take for no check at all.
    """
    parts = urlsplit(url)
    said = dict(parse_qsl(parts.query, keep_blank_values=True)).get(CERTIFICATE)
    if said is None:
        return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, f"{CERTIFICATE}=required"]))))
    if said not in CERTIFICATE_CHECKS:
        raise ValueError(f"{CERTIFICATE}: expected {', '.join(CERTIFICATE_CHECKS)}, received {said[:20]!r}")
    return url
