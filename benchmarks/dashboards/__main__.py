"""Every panel's query, asked of a Prometheus that scrapes a running system; and alerts, each really caused.

    python -m benchmarks.dashboards [--minutes 5] [--rate 40] [--write]

It needs Debian's package `prometheus`, and the right to mount a small disk. A whole system runs with API keys in a
temporary folder: predictions of three models, right ones and wrong ones, with feedback; trainings that succeed, are
rejected and fail; a canary; a job that nobody can take; a machine that follows a bucket. After so many minutes come
faults, one after the other, with the rules as they are shipped: damaged versions, processes that stand still or are
killed again and again, a full disk, a locked ledger, a bucket that hangs up. It takes three quarters of an hour, as
some alerts wait for half an hour by themselves. Prints a table of panels and their series; `--write` keeps it for
docs/dashboards.md. Exit status 1 if a panel has nothing to show, or an alert did not fire.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.dashboards.faults import CAUSES, Faults, wait
from benchmarks.dashboards.load import Load
from benchmarks.dashboards.system import Observed, observed_system
from modelyard.services.cli.reference.dashboards import Panel, read_dashboards
from modelyard.services.cli.reference.dashboards_page import RESULTS

VARIABLES = {"$__rate_interval": "1m", "$model": ".*"}
"""As Grafana would have them: four scrapes, and all models."""
STEP_S = 15


class FiringAlerts:
    """Notes which alerts fire, by Prometheus' own account, until it is stopped."""

    def __init__(self, system: Observed) -> None:
        self.seen: dict[str, float] = {}
        """When each was first seen to fire, in seconds since the start."""
        self._system, self._began = system, time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(3):
            with contextlib.suppress(httpx.HTTPError):  # it is asked again
                self._note(self._system.ask("alerts")["alerts"])

    def _note(self, alerts: list[dict[str, Any]]) -> None:
        for alert in alerts:
            name = alert["labels"]["alertname"]
            if alert["state"] == "firing" and name not in self.seen:
                self.seen[name] = time.monotonic() - self._began
                print(f"fires: {name} {alert['labels']}", flush=True)


def count_series(system: Observed, panel: Panel, began: float) -> int:
    """Series that its queries had at any time since then."""
    found = 0
    for query in panel.queries.values():
        for name, value in VARIABLES.items():
            query = query.replace(name, value)  # noqa: PLW2901  # one variable after the other
        result = system.ask("query_range", query=query, start=began, end=time.time(), step=STEP_S)["result"]
        found += sum(any(value != "NaN" for _, value in series["values"]) for series in result)
    return found


def run(system: Observed, minutes: float, rate: float) -> tuple[dict[str, dict[str, int]], dict[str, float]]:
    """Series by dashboard and panel, and the alerts that fired."""
    began, alerts, load = time.time(), FiringAlerts(system), Load(system, rate)
    faults = Faults(system, lambda: set(alerts.seen))
    alerts.start()
    load.start()
    faults.submit_bad_jobs()
    faults.try_keys()
    load.train_canary()
    faults.date_back_canary()
    faults.kill_trainings()
    wait(lambda: time.time() - began > 60 * minutes, 60 * minutes)
    faults.break_version()
    faults.break_bucket()
    with faults.full_disk():
        faults.pulse()
    faults.stop_model_server()
    faults.await_long()
    faults.lock_ledger()
    faults.stop_processes()
    load.stop()
    alerts.stop()
    series = {
        dashboard.name: {panel.title: count_series(system, panel, began) for panel in dashboard.panels}
        for dashboard in read_dashboards()
    }
    return series, alerts.seen


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dashboards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=5, help="before the faults")
    parser.add_argument("--rate", type=float, default=40, help="predictions a second")
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS.name}; then `make docs`")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, observed_system(Path(folder) / "home") as system:
        release = system.ask("status/buildinfo")["version"]
        began = time.monotonic()
        series, seen = run(system, asked.minutes, asked.rate)
        took_s = time.monotonic() - began
    shown = {
        name: {title: count or "0: unexpectedly" for title, count in panels.items()} for name, panels in series.items()
    }
    for name, panels in shown.items():
        for title, count in panels.items():
            print(f"{name:14} {title:50} {count}")
    for name in CAUSES:
        print(f"{name:20} {f'fired after {seen[name]:.0f} s' if name in seen else 'did not fire'}")
    if asked.write:
        found = {
            "prometheus": release,
            "minutes": took_s / 60,
            "rate": asked.rate,
            "series": shown,
            "alerts": {name: cause for name, cause in CAUSES.items() if name in seen},
        }
        RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    missing = [title for panels in series.values() for title, count in panels.items() if not count]
    sys.exit(bool(missing or set(CAUSES) - set(seen)))


if __name__ == "__main__":
    main()
