"""The replicas behind names: one for each address that a name stands for, looked up again while calls are made.

gRPC's own resolver asks for a name again only once a connection has failed: a server that was added would get no call.
Runs on the event loop's thread: no locks.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from modelyard.models.tfserving.addresses import find_addresses, split_name
from modelyard.services.gateway.serving.servers.replicas import Replica

log = structlog.get_logger()

FRESH_S = 2.0
"""How long what was found is used without asking again."""
STALE_S = 10.0
"""From this age on a call waits for the answer: addresses may belong to somebody else by then."""
WAIT_S = 1.0
"""How long it waits at most."""
RETIRE_S = 60.0
"""Time for the calls in progress of a replica that a name no longer stands for; longer than any takes."""


class NamedReplicas:
    """Replicas that come and go with the addresses of their names."""

    def __init__(
        self,
        names: Sequence[str],
        make: Callable[[str, str], Replica],
        find: Callable[[str], Iterable[str]] = find_addresses,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``make``: the replica of an address, and of the host's name that stands for it.

        ``find``: addresses of a name; blocks, and raises ``OSError``.
        """
        self._names = names
        self._make = make
        self._find = find
        self._clock = clock
        self._found: dict[str, dict[str, Replica]] = {name: {} for name in names}
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    def list_replicas(self) -> list[Replica]:
        """Those that are known, each address once."""
        return list({address: each for found in self._found.values() for address, each in found.items()}.values())

    async def refresh(self) -> None:
        """Asks again if it is time to; waits for the answer only where nothing is known, or what is known is old."""
        age_s = self._clock() - self._asked_at
        if age_s >= FRESH_S and self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        if self._asking and (age_s >= STALE_S or not any(self._found.values())):
            await asyncio.wait([self._asking], timeout=WAIT_S)

    async def close(self) -> None:
        """Closes all, those that were retired too."""
        tasks = [*self._retiring, *filter(None, [self._asking])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self.list_replicas():
            await replica.close()

    async def _ask(self) -> None:
        try:
            for name in self._names:
                self._adopt(name, await asyncio.to_thread(self._find, name))
            self._asked_at = self._clock()
        except OSError as error:
            self._asked_at = self._clock() - STALE_S + FRESH_S  # what is known stays, and is asked for soon again
            log.warning("name of the model servers not looked up", cause=str(error))
        finally:
            self._asking = None

    def _adopt(self, name: str, addresses: Iterable[str]) -> None:
        """Where a name stands for nothing any more, what it stood for stays: it may be back before a new one is."""
        known, now = self._found[name], dict.fromkeys(addresses)
        if not now or known.keys() == now.keys():
            return
        log.info("model servers", name=name, addresses=list(now))
        elsewhere = {address: each for found in self._found.values() for address, each in found.items()}
        host, _ = split_name(name)
        self._found[name] = {address: elsewhere.get(address) or self._make(address, host) for address in now}
        kept = {address for found in self._found.values() for address in found}
        for address, replica in known.items():
            if address not in kept:
                task = asyncio.create_task(replica.close(RETIRE_S))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
