"""A service of Kubernetes in front of pods: new connections go to endpoints that are ready, one after the other."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from tests.support.pods import Cluster, Pod

PROBE_EVERY_S = 1.0
BLOCK = 1 << 16


class Service:
    """Listens on loopback; passes bytes on, and knows nothing of HTTP."""

    def __init__(self, cluster: Cluster, workload: str, port: int) -> None:
        self._cluster, self._workload, self._port = cluster, workload, port
        self._ready: set[Pod] = set()
        self._turn = count()
        self.url = ""

    @contextmanager
    def running(self) -> Iterator["Service"]:
        loop, begun = asyncio.new_event_loop(), threading.Event()
        ended = asyncio.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            probing = asyncio.create_task(self._probe())
            begun.set()
            await ended.wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.gather(probing, return_exceptions=True)

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        assert begun.wait(30)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(30)
            loop.close()

    @property
    def endpoints(self) -> Sequence[Pod]:
        """Ready ones that have not been told to end."""
        return [pod for pod in self._cluster.of(self._workload) if pod in self._ready]

    async def _probe(self) -> None:
        while True:
            for pod in self._cluster.of(self._workload):
                try:
                    ready = await asyncio.to_thread(self._cluster.is_ready, pod)
                except AssertionError:  # it has been removed meanwhile
                    ready = False
                (self._ready.add if ready else self._ready.discard)(pod)
            await asyncio.sleep(PROBE_EVERY_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not (pods := self.endpoints):
            raise ConnectionRefusedError("no endpoint is ready")
        pod = pods[next(self._turn) % len(pods)]
        return await asyncio.open_connection(pod.address, self._port)


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until one side ends; then the other side ends too."""
    try:
        while block := await source.read(BLOCK):
            target.write(block)
            await target.drain()
    except (OSError, asyncio.CancelledError):
        pass
    finally:
        target.close()
