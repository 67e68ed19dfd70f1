"""All pages of the console, in one place: what looks at each of them finds them here."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx


class Places(NamedTuple):
    """What there is to look at in a running system."""

    model: str
    version: int


NO_PLACES = Places("mnist_mlp", 1)
"""Where nothing has been trained yet."""


def find_places(url: str, model: str = "mnist_mlp") -> Places:
    """Of a system that serves ``model``."""

    def get(path: str) -> Any:
        return httpx.get(url + path, timeout=30).raise_for_status().json()

    return Places(model, get(f"/api/models/{model}")["rollout"]["stable"])


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
    "version": lambda places: f"/models/{places.model}/versions/{places.version}",
    "try it": lambda places: f"/models/{places.model}/try",
    "label desk": lambda places: f"/models/{places.model}/label",
    "live": lambda _: "/live",
}
"""Path by name."""
