"""Our gateway before a model that costs nothing: ``python -m benchmarks.bounds.without_model STORE PORT WORK``.

With ``--refusing`` at its end every prediction is refused, as if all places of its model were taken.

The whole way of a prediction as it is served: granian, the RSGI app, the fast path, the batcher, metrics and log. A
replica in the same process answers each call at once with ones of the right shape.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from benchmarks.hot_path import build
from benchmarks.serving.workload import KINDS
from modelyard.services import logs
from modelyard.services.gateway.__main__ import limit_memory_arenas, raise_file_limit
from modelyard.services.gateway.lifecycle import listen, tune_gc, wait_until_listening
from modelyard.services.gateway.server.rsgi import RsgiApp
from modelyard.services.gateway.settings import GatewaySettings


async def serve(settings: GatewaySettings, *, refusing: bool) -> None:
    """Until the process is ended."""
    app = build(settings)
    if refusing:
        take_all_places(app, settings)
    serving = asyncio.create_task(listen(app, settings).serve())
    await wait_until_listening(settings, serving)
    tune_gc()
    await serving


def take_all_places(app: RsgiApp, settings: GatewaySettings) -> None:
    """Of every model, for good."""
    for model in {kind.model for kind in KINDS}:
        for _ in range(settings.max_in_flight):
            app.admission.start(model)


def main(store: Path, port: int, work: Path, *, refusing: bool) -> None:
    settings = GatewaySettings(store=store, port=port, ledger=f"sqlite:///{work}/ledger.db")
    logs.configure("gateway", settings.log_level)
    limit_memory_arenas(1)
    raise_file_limit()
    uvloop.run(serve(settings, refusing=refusing))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), refusing="--refusing" in sys.argv)
