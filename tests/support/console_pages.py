"""All pages of the console, in one place: what looks at each of them finds them here."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.support.http import http


class Places(NamedTuple):
    """What there is to look at in a running system."""

    model: str
    version: int
    job: str = "none"
    search: str = "none"
    compared: tuple[str, ...] = ("none",)
    """Jobs of the model, the newest first."""
    cell: str = ""
    """Query of the version's page: the commonest mistake is open."""


NO_PLACES = Places("mnist_mlp", 1)
"""Where nothing has been trained yet."""


def find_places(url: str, model: str = "mnist_mlp") -> Places:
    """Of a system that serves ``model``: its canary where there is one, else its stable version."""

    def get(path: str) -> Any:
        return http.get(url + path).raise_for_status().json()

    jobs = [job["id"] for job in get(f"/api/jobs?model={model}&limit=3")["jobs"]]
    search = next((one["id"] for one in get("/api/searches")["searches"]), "none")
    rollout = get(f"/api/models/{model}/rollout")
    version = rollout["canary"]["version"] if rollout["canary"] else rollout["stable"]
    pairs = get(f"/api/models/{model}/versions/{version}/evaluation")["confused"]
    worst = max(pairs, key=lambda pair: pair["count"], default=None)
    cell = "?" + urlencode({name: worst[name] for name in ("expected", "received")}) if worst else ""
    return Places(model, version, jobs[0], search, tuple(jobs), cell)


PAGES: Mapping[str, Callable[[Places], str]] = {
    "home": lambda _: "/",
    "keys": lambda _: "/keys",
    "audit": lambda _: "/audit",
    "models": lambda _: "/models",
    "model": lambda places: f"/models/{places.model}",
    "canary": lambda places: f"/models/{places.model}/canary",
    "queue": lambda _: "/queue",
    "new_search": lambda _: "/queue?model=neuron&kind=search",
    "searches": lambda _: "/searches",
    "search": lambda places: f"/searches/{places.search}",
    "version": lambda places: f"/models/{places.model}/versions/{places.version}{places.cell}",
    "try_it": lambda places: f"/models/{places.model}/try",
    "label_desk": lambda places: f"/models/{places.model}/label",
    "live": lambda _: "/live",
    "jobs": lambda _: "/jobs",
    "job": lambda places: f"/jobs/{places.job}",
    "compare": lambda places: "/jobs/compare?" + "&".join(f"id={job}" for job in places.compared),
    "feedback": lambda places: f"/models/{places.model}/feedback",
    "triggers": lambda places: f"/models/{places.model}/triggers",
}
"""Path by name."""
