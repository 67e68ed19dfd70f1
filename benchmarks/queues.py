"""The queue's limits: ``python -m benchmarks.queues [--waiting 10000 --outages 20 20 60 --seconds 120]``.

A gateway with its ledger and Redis. First without a worker: so many jobs are submitted over HTTP, then a thousand more
are timed while all of those wait, and so are pages of the list and a worker's check for lost messages. Then, in a new
folder and with a worker, messages of cancelled jobs are taken and dropped. Redis is killed, stays away and comes back,
and a job is submitted at once: how long until it is started? At last, for so many seconds, jobs fail in their training
process: how much does the worker grow? Prints a table, appends one JSON line to ``benchmarks/results/queues.jsonl``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.page import replace_section
from benchmarks.served import free_ports
from benchmarks.serving.machine import machine
from benchmarks.serving.tally import percentile
from modelyard.client import Client
from modelyard.services import broker, jobs
from modelyard.services.cli.commands.local.up import LocalSystem, make_services
from modelyard.services.cli.processes import launch, redis_server
from modelyard.services.cli.processes.supervisor import Service, Supervisor
from modelyard.services.ledger import FINAL, Job, JobRequest, Ledger

RESULTS = Path(__file__).parent / "results" / "queues.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
MODEL = "neuron"
UNKNOWN = "no_such_model"
"""Jobs for it fail in their training process."""
CLIENTS = 4
TIMED = 1000
PAGES = 100
RECOVERIES = 20
TIMEOUT_S = 300.0
POLL_INTERVAL_S = 0.02


@dataclass
class QueueSystem:
    """A gateway with its queue, and a worker once it is started."""

    system: LocalSystem
    broker: Path
    services: dict[str, Service]
    supervisor: Supervisor
    ledger: Ledger
    http: httpx.Client
    redis: subprocess.Popen[bytes] | None = None
    jobs: list[str] = field(default_factory=list)

    def start_redis(self) -> None:
        """Returns when it answers, with all that it knew."""
        data = self.system.home / "redis"
        command = redis_server.build_command(redis_server.find_server(), self.broker, data)
        self.redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait(lambda: redis_server.is_answering(self.broker))

    def submit(self, _: int = 0) -> float:
        """Over HTTP; seconds until it was accepted."""
        began = time.perf_counter()
        answer = self.http.post("/api/jobs", json={"model": MODEL, "rollout": "manual"}).raise_for_status()
        took = time.perf_counter() - began
        self.jobs.append(answer.json()["id"])
        return took

    def submit_unknown(self) -> Job:
        """Past the gateway, which would refuse it."""
        queue = broker.make_sender(redis_server.make_broker_url(self.broker))
        return jobs.submit(self.ledger, queue, JobRequest(model=UNKNOWN), by="benchmark")

    def start_worker(self) -> None:
        self.supervisor.start(self.services["trainer"])
        wait(lambda: "ready." in (self.system.home / "log" / "trainer.log").read_text())

    def worker_mb(self) -> float:
        """Resident memory of the worker's own processes."""
        process = psutil.Process(self.supervisor.pids()["trainer"])
        return float(sum(each.memory_info().rss for each in (process, *process.children())) / 1e6)

    def worker_files(self) -> int:
        process = psutil.Process(self.supervisor.pids()["trainer"])
        return sum(each.num_fds() for each in (process, *process.children()))


@contextmanager
def start_system(home: Path) -> Iterator[QueueSystem]:
    """A running system without a worker."""
    port, serving_port = free_ports(2)
    system = LocalSystem(home, home / "data", port, serving_port, workers=1)
    system.store.prepare()
    subprocess.run([sys.executable, "-m", "modelyard.models.listing", str(system.store.root)], check=True)
    broker = launch.make_private_folder(home) / "redis.sock"
    services = {service.name: service for service in make_services(system, broker, [MODEL], gpu_names=())}
    supervisor, ledger = Supervisor(home / "log", on_event=print), Ledger(f"sqlite:///{home / 'ledger.db'}")
    ledger.prepare()
    with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as http:
        queues = QueueSystem(system, broker, services, supervisor, ledger, http)
        try:
            queues.start_redis()
            gateway = launch.make_gateway(Client(system.url), services["gateway"].environment)
            launch.start_services(supervisor, [gateway])
            yield queues
        finally:
            supervisor.stop()
            ledger.close()
            if queues.redis:
                queues.redis.terminate()
                queues.redis.wait(20)


def wait(done: Callable[[], Any]) -> Any:
    """Polls until the result is true, and returns it."""
    give_up = time.monotonic() + TIMEOUT_S
    while not (found := done()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {TIMEOUT_S:.0f} s")
        time.sleep(POLL_INTERVAL_S)
    return found


# --- what is measured -------------------------------------------------------------------------------------------------


def measure_submissions(queues: QueueSystem, waiting: int) -> dict[str, Any]:
    """With one client and with a few, while so many jobs wait."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(queues.submit, range(waiting)))
        alone = [queues.submit() for _ in range(TIMED)]
        together = list(clients.map(queues.submit, range(TIMED)))
    return {
        "waiting": waiting,
        "submit_ms": summarize_ms(alone),
        f"submit_{CLIENTS}_callers_ms": summarize_ms(together),
        "page_ms": summarize_ms(list(time_pages(queues))),
        "look_ms": summarize_ms(list(time_recoveries(queues))),
    }


def time_pages(queues: QueueSystem) -> Iterator[float]:
    """Seconds for each page of those that wait, the newest first, and over again."""
    first: dict[str, Any] = {"state": "queued", "limit": 100}
    query = first
    for _ in range(PAGES):
        began = time.perf_counter()
        page = queues.http.get("/api/jobs", params=query).raise_for_status().json()
        yield time.perf_counter() - began
        query = first | ({"before": page["next"]} if page["next"] else {})


def time_recoveries(queues: QueueSystem) -> Iterator[float]:
    """Seconds for each check for jobs whose message was lost; there are none."""
    queue = broker.make_sender(redis_server.make_broker_url(queues.broker))
    for _ in range(RECOVERIES):
        began = time.perf_counter()
        assert broker.resend_lost(queues.ledger, queue) == []
        yield time.perf_counter() - began


def measure_dropped(queues: QueueSystem, count: int) -> dict[str, Any]:
    """So many messages of cancelled jobs, which the worker takes and drops one after the other."""
    for _ in range(count):
        queues.submit()
    for job in queues.jobs:
        queues.ledger.jobs.cancel(job, "the benchmark")
    queues.start_worker()
    began, before = time.monotonic(), queues.worker_mb()
    assert_ended(queues, queues.submit_unknown())  # goes last
    took = round(time.monotonic() - began, 1)
    return {"messages": count, "took_s": took, "before_mb": round(before, 1), "after_mb": round(queues.worker_mb(), 1)}


def measure_outage(queues: QueueSystem, seconds: float) -> dict[str, float]:
    """Redis is killed and stays away; from its first answer to the start of a job."""
    assert queues.redis
    queues.redis.kill()
    queues.redis.wait()
    time.sleep(seconds)
    queues.start_redis()
    back = time.monotonic()
    job = queues.submit_unknown()
    wait(lambda: queues.ledger.jobs.get(job.id).started_at)
    started = time.monotonic()
    assert_ended(queues, job)
    return {"away_s": seconds, "consuming_after_s": round(started - back, 1)}


def measure_growth(queues: QueueSystem, seconds: float) -> dict[str, Any]:
    """One failing job after another."""
    assert_ended(queues, queues.submit_unknown())
    before_mb, before_files, count = queues.worker_mb(), queues.worker_files(), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert_ended(queues, queues.submit_unknown())
        count += 1
    after_mb, files = queues.worker_mb(), queues.worker_files() - before_files
    share = round(after_mb / before_mb - 1, 4)
    return {
        "jobs": count,
        "before_mb": round(before_mb, 1),
        "after_mb": round(after_mb, 1),
        "grown": share,
        "files": files,
    }


def assert_ended(queues: QueueSystem, job: Job) -> None:
    wait(lambda: queues.ledger.jobs.get(job.id).state in FINAL)


def summarize_ms(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"p{share}": round((percentile(ordered, share / 100) or 0) * 1000, 1) for share in (50, 99)}


# --- report -----------------------------------------------------------------------------------------------------------


def render_table(result: dict[str, Any]) -> str:
    waiting, grown = result["submissions"], result["growth"]
    few = waiting[f"submit_{CLIENTS}_callers_ms"]
    rows = [
        (f"submit while {waiting['waiting']:,} wait, p99", "≤ 200 ms", f"{waiting['submit_ms']['p99']} ms"),
        (f"the same, {CLIENTS} clients at a time", "≤ 200 ms", f"{few['p99']} ms"),
        ("a page of 100 of those that wait, p99", "", f"{waiting['page_ms']['p99']} ms"),
        ("a worker's check for lost messages among them, median", "", f"{waiting['look_ms']['p50']} ms"),
        *(
            (
                f"Redis away for {each['away_s']:g} s → a job is started",
                format_promise(each["away_s"]),
                f"{each['consuming_after_s']} s",
            )
            for each in result["outages"]
        ),
        (
            f"a worker's memory after {grown['jobs']} failing jobs",
            "≤ 5 % more",
            f"{grown['before_mb']} → {grown['after_mb']} MB, {grown['files']:+d} open files",
        ),
    ]
    return "\n".join(["| | promise | seen |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def format_promise(away_s: float) -> str:
    return "≤ 15 s" if away_s <= 20 else "≤ 35 s"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.queues", description=__doc__)
    parser.add_argument("--waiting", type=int, default=10_000, help="jobs that wait")
    parser.add_argument("--dropped", type=int, default=500, help="messages of cancelled jobs for one worker")
    parser.add_argument("--outages", type=float, nargs="+", default=[20, 20, 60], help="seconds without Redis")
    parser.add_argument("--seconds", type=float, default=120, help="how long jobs fail one after another")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {"machine": machine(), "asked": vars(options)}
    with tempfile.TemporaryDirectory() as name, start_system(Path(name) / "home") as queues:
        result["submissions"] = measure_submissions(queues, options.waiting)
    with tempfile.TemporaryDirectory() as name, start_system(Path(name) / "home") as queues:
        result["dropped"] = measure_dropped(queues, options.dropped)
        result["outages"] = [measure_outage(queues, seconds) for seconds in options.outages]
        result["growth"] = measure_growth(queues, options.seconds)
    with RESULTS.open("a") as results:
        results.write(json.dumps(result) + "\n")
    print(render_table(result))
    if options.write:
        replace_section(PAGE, "queues", render_table(result))


if __name__ == "__main__":
    main()
