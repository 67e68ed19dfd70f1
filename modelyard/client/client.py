"""``Client`` and ``AsyncClient``: the same methods, from the same routines."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from modelyard.client import groups, predictions
from modelyard.client.methods import Awaited, Blocking
from modelyard.client.options import Options, make_options
from modelyard.client.steps import Routine, get, send_json, with_retries
from modelyard.client.transport import Transport

if TYPE_CHECKING:
    from modelyard.client.async_transport import AsyncTransport

T = TypeVar("T")


def call(method: str, path: str, body: Any = None, *, idempotency_key: str | None = None, **query: Any) -> Routine[Any]:
    """The JSON of any route; None of an answer without a body. Parameters that are None are left out.

    Only GET, and what has an idempotency key, is sent again after it may have reached the gateway.
    """
    request = get(path, **query) if method == "GET" else send_json(method, path, body, idempotency_key=idempotency_key)
    reply = yield request
    return reply.json() if reply.content else None


class _Opened:
    """What both clients are: options, which can be pickled, and a pool of connections, which cannot."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        key_file: str | Path | None = None,
        timeout: float = 60.0,
        retries: int | None = 3,
        max_connections: int = 20,
    ) -> None:
        """See ``Client``."""
        limits = {"timeout": timeout, "retries": retries, "max_connections": max_connections}
        self._begin(make_options(url, key, key_file=key_file, **limits))  # type: ignore[arg-type]

    def _begin(self, options: Options, pool: Any = None) -> None:
        raise NotImplementedError

    @property
    def options(self) -> Options:
        """Where the gateway is, and how long it is tried."""
        return self._options

    @property
    def url(self) -> str:
        """Address of the gateway."""
        return self._options.url

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """A client with these options."""
        client = cls.__new__(cls)
        client._begin(options)  # noqa: SLF001  # of this class
        return client

    def __reduce__(self) -> tuple[Any, tuple[Options]]:
        return type(self).from_options, (self._options,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    _options: Options


class Client(_Opened):
    """Calls a gateway. Threads may share it; connections are kept open, until ``close`` or the end of a ``with`` block.

    Args:
        url: of the gateway; of ``MODELYARD_URL`` unless given, else this machine's port 8080.
        key: an API key; of ``key_file``, ``MODELYARD_API_KEY`` or ``MODELYARD_KEY_FILE`` unless given.
        key_file: a file that holds the key.
        timeout: seconds of one call, with all its tries.
        retries: tries after the first one, of what may safely be sent again; None: until the time is up.
        max_connections: at the same time.

    Raises:
        InvalidInput: no URL, or a key's file that cannot be read.
    """

    predict = Blocking(predictions.predict)
    predict_many = Blocking(predictions.predict_many)
    predict_raw = Blocking(predictions.predict_raw)
    metadata = Blocking(predictions.get_metadata)
    feedback = Blocking(predictions.send_feedback)
    call = Blocking(call)

    def _begin(self, options: Options, pool: Transport | None = None) -> None:
        self._options, self._transport = options, pool or Transport(options)
        self.jobs, self.models = groups.Jobs(self), groups.Models(self)
        self.searches, self.triggers = groups.Searches(self), groups.Triggers(self)

    def limited(self, *, timeout: float | None = None, retries: int | None = 0) -> "Client":
        """The same client with another time limit and number of retries, and the same connections."""
        options = replace(self._options, timeout_s=timeout or self._options.timeout_s, retries=retries)
        client = Client.__new__(Client)
        client._begin(options, self._transport)  # noqa: SLF001  # of this class
        return client

    def _run(self, routine: Routine[T]) -> T:
        return self._transport.run(with_retries(routine, self._options))

    def _iterate(self, routine: Routine[None]) -> Iterator[Any]:
        return self._transport.iterate(with_retries(routine, self._options))

    def close(self) -> None:
        """Closes all connections."""
        self._transport.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Opened):
    """As ``Client``, whose methods are coroutines here; ``jobs.follow`` is an asynchronous iterator."""

    predict = Awaited(predictions.predict)
    predict_many = Awaited(predictions.predict_many)
    predict_raw = Awaited(predictions.predict_raw)
    metadata = Awaited(predictions.get_metadata)
    feedback = Awaited(predictions.send_feedback)
    call = Awaited(call)

    def _begin(self, options: Options, pool: "AsyncTransport | None" = None) -> None:
        from modelyard.client.async_transport import AsyncTransport

        self._options, self._transport = options, pool or AsyncTransport(options)
        self.jobs, self.models = groups.AsyncJobs(self), groups.AsyncModels(self)
        self.searches, self.triggers = groups.AsyncSearches(self), groups.AsyncTriggers(self)

    def limited(self, *, timeout: float | None = None, retries: int | None = 0) -> "AsyncClient":
        """The same client with another time limit and number of retries, and the same connections."""
        options = replace(self._options, timeout_s=timeout or self._options.timeout_s, retries=retries)
        client = AsyncClient.__new__(AsyncClient)
        client._begin(options, self._transport)  # noqa: SLF001  # of this class
        return client

    async def _run(self, routine: Routine[T]) -> T:
        return await self._transport.run(with_retries(routine, self._options))

    def _iterate(self, routine: Routine[None]) -> AsyncIterator[Any]:
        return self._transport.iterate(with_retries(routine, self._options))

    async def close(self) -> None:
        """Closes all connections."""
        await self._transport.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
