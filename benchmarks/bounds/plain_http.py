"""HTTP servers that do nothing else: ``python -m benchmarks.bounds.plain_http KIND PORT``.

Each reads the body and answers every request with the same bytes, those of a real answer, from the variable
``BOUNDS_ANSWER``. Those that are not ours run in a peer's environment, in which nothing of the project is installed.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

ANSWER = os.environ.get("BOUNDS_ANSWER", "").encode()
LENGTH = str(len(ANSWER))

Scope = dict[str, Any]
Parse = Callable[[bytes], object]


def run_granian(port: int, parse: Parse | None = None) -> None:
    """granian, configured as the gateway does it, before an RSGI app of three lines."""
    import uvloop

    from modelyard.services.gateway.lifecycle import listen, tune_gc
    from modelyard.services.gateway.settings import GatewaySettings

    headers = [("content-type", "application/json"), ("content-length", LENGTH)]

    class App:
        async def __rsgi__(self, scope: Any, protocol: Any) -> None:
            del scope
            body = await protocol()
            if parse:
                parse(body)
            protocol.response_bytes(200, headers, ANSWER)

    async def serve() -> None:
        server = listen(App(), GatewaySettings(port=port))  # type: ignore[arg-type]  # it takes any RSGI app
        tune_gc()
        await server.serve()

    uvloop.run(serve())


def run_granian_parsed(port: int) -> None:
    """The same, and the body is parsed as the gateway parses numbers and texts: by simdjson and orjson."""
    import orjson

    from modelyard.services.gateway.codecs.tfs_json_fast import parse_numbers

    run_granian(port, lambda body: orjson.loads(body) if b'["' in body else parse_numbers(body))


def run_uvicorn(port: int) -> None:
    """An ASGI app behind uvicorn, with uvloop and httptools."""
    import uvicorn

    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", LENGTH.encode())],
    }

    async def app(scope: Scope, receive: Callable[[], Awaitable[Scope]], send: Callable[[Scope], Any]) -> None:
        del scope
        body = b""
        while (part := await receive()).get("more_body"):
            body += part["body"]
        body += part.get("body", b"")
        await send(start)
        await send({"type": "http.response.body", "body": ANSWER})

    options: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "lifespan": "off", "access_log": False}
    uvicorn.run(app, port=port, log_level="warning", **options)


def run_bare(port: int) -> None:
    """No server around uvloop and httptools, and no task for each request: the least in Python."""
    import asyncio

    import httptools
    import uvloop

    response = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {LENGTH}\r\n\r\n".encode() + ANSWER
    )

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport, self.parser, self.body = transport, httptools.HttpRequestParser(self), b""

        def data_received(self, data: bytes) -> None:
            self.parser.feed_data(data)

        def on_body(self, body: bytes) -> None:
            self.body += body

        def on_message_complete(self) -> None:
            self.body = b""
            self.transport.write(response)  # type: ignore[attr-defined]  # a socket's transport writes

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", port, backlog=1024)
        await server.serve_forever()

    uvloop.run(serve())


SERVERS: dict[str, Callable[[int], None]] = {
    "granian": run_granian,
    "granian-parsed": run_granian_parsed,
    "uvicorn": run_uvicorn,
    "bare": run_bare,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
