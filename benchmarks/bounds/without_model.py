"""Our gateway before a model that costs nothing: ``python -m benchmarks.bounds.without_model STORE PORT WORK``.

The whole way of a prediction as it is served: granian, the RSGI app, the fast path, the batcher, metrics and log. A
replica in the same process answers each call at once with ones of the right shape.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from benchmarks.hot_path import build
from modelyard.services import logs
from modelyard.services.gateway.__main__ import limit_memory_arenas, raise_file_limit
from modelyard.services.gateway.lifecycle import listen, tune_gc, wait_until_listening
from modelyard.services.gateway.settings import GatewaySettings


async def serve(settings: GatewaySettings) -> None:
    """Until the process is ended."""
    serving = asyncio.create_task(listen(build(settings), settings).serve())
    await wait_until_listening(settings, serving)
    tune_gc()
    await serving


def main(store: Path, port: int, work: Path) -> None:
    settings = GatewaySettings(store=store, port=port, ledger=f"sqlite:///{work}/ledger.db")
    logs.configure("gateway", settings.log_level)
    limit_memory_arenas(1)
    raise_file_limit()
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
