"""All pages of the console, in one place: what looks at each of them finds them here."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx


class Places(NamedTuple):
    """What there is to look at in a running system."""

    model: str
    version: int
    job: str = "none"
    search: str = "none"


NO_PLACES = Places("mnist_mlp", 1)
"""Where nothing has been trained yet."""


def find_places(url: str, model: str = "mnist_mlp") -> Places:
    """Of a system that serves ``model``."""

    def get(path: str) -> Any:
        return httpx.get(url + path, timeout=30).raise_for_status().json()

    (job,) = get(f"/api/jobs?model={model}&limit=1")["jobs"]
    search = next((one["id"] for one in get("/api/searches")["searches"]), "none")
    return Places(model, get(f"/api/models/{model}")["rollout"]["stable"], job["id"], search)


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
    "version": lambda places: f"/models/{places.model}/versions/{places.version}",
    "try_it": lambda places: f"/models/{places.model}/try",
    "label_desk": lambda places: f"/models/{places.model}/label",
    "live": lambda _: "/live",
    "jobs": lambda _: "/jobs",
    "job": lambda places: f"/jobs/{places.job}",
    "compare": lambda places: f"/jobs/compare?id={places.job}",
    "feedback": lambda places: f"/models/{places.model}/feedback",
    "triggers": lambda places: f"/models/{places.model}/triggers",
}
"""Path by name."""
