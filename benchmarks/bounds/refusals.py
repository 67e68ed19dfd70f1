"""What a refusal costs by itself: our gateway without a model, all of whose places are taken.

Under three times the load two requests of three are refused, on the same cores as the answers and the generator.
"""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bounds.servers import running_gateway
from benchmarks.generator import Answer, Generator, for_seconds
from benchmarks.overload import MAX_CONNECTIONS
from benchmarks.serving import processes
from benchmarks.serving.roster import OURS
from benchmarks.serving.workload import Workload

WORKLOADS = ("mnist_json", "sentiment")
REFUSED = 503

Row = dict[str, Any]


def measure(store: Path, workloads: Mapping[str, Workload], seconds: float) -> Iterator[Row]:
    """One row for each workload: processor time of a refusal, of server and generator, in ms."""
    with running_gateway(store, "--refusing") as port:
        for name in WORKLOADS:
            yield {"row": "refusal", "workload": name} | refuse(port, workloads[name].requests(OURS, port), seconds)


def refuse(port: int, requests: tuple[bytes, ...], seconds: float) -> Row:
    """A closed loop. Raises ``SystemExit`` if anything else than a refusal comes back."""
    asked = refused = 0

    def next_request() -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        return asked, requests[asked % len(requests)]

    def judge(answer: Answer) -> None:
        nonlocal refused
        if answer.status != REFUSED:
            raise SystemExit(f"expected {REFUSED}, received {answer.status} {answer.body[:200]!r}")
        refused += 1

    generator = Generator(port, MAX_CONNECTIONS, next_request, judge)
    before, own_s = processes.cpu_s(os.getpid()), time.process_time()
    took_s = generator.run(for_seconds(seconds))
    after, own_s = processes.cpu_s(os.getpid()), time.process_time() - own_s
    if generator.failures or not refused:
        raise SystemExit(f"{len(generator.failures)} without an answer, {refused} refused")
    server_s = sum(after[pid] - before.get(pid, 0.0) for pid in after)
    return {"rps": refused / took_s, "cpu_ms": server_s / refused * 1000, "load_cpu_ms": own_s / refused * 1000}
