"""Which versions serve. ``<store>/<model>/rollout.json`` is the source of truth; ``models.config`` is rendered from it.

Slim. Every write is one atomic replacement under the store's lock, so a rollback is one file write.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from models.errors import CorruptData, ModelyardError
from models.manifest import Frozen
from models.store import Store, first_line, replace_file

FILE = "rollout.json"
CONFIG = "models.config"
HISTORY = 200


class NothingToRollBackTo(ModelyardError):
    """No earlier version can answer at once."""

    status = 409


class Canary(Frozen):
    """A version that gets ``percent`` of the unpinned requests."""

    version: int
    percent: Annotated[float, Field(ge=0, le=100)]


class Change(Frozen):
    """One line of a model's history."""

    at: datetime
    action: str
    version: int
    by: str
    reason: str
    detail: dict[str, Any] = Field(default_factory=dict)


class Rollout(Frozen):
    """Which versions of a model are loaded, and which one answers."""

    stable: int | None = None
    canary: Canary | None = None
    shadow: int | None = None
    keep: tuple[int, ...] = ()
    """Loaded, but not answering unpinned requests: the previous stable, and versions about to be promoted."""
    history: tuple[Change, ...] = ()

    @property
    def loaded(self) -> tuple[int, ...]:
        """Every version the model server must hold, ascending."""
        wanted = {*self.keep, self.stable, self.shadow, self.canary.version if self.canary else None}
        return tuple(sorted(version for version in wanted if version is not None))

    def preload(self, version: int) -> "Rollout":
        """Asks for a version to be loaded without letting it answer."""
        return self.model_copy(update={"keep": tuple(sorted({*self.keep, version}))})

    def promote(self, version: int, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Makes a version answer; the previous stable stays loaded, everything older is let go."""
        previous = () if self.stable in (None, version) else (self.stable,)
        return self._changed("promote", version, by, reason, detail, stable=version, keep=previous)

    @property
    def previous(self) -> int | None:
        """The version that answered before this one was promoted. Rolling back goes further back, never forth."""
        answered: list[int] = []
        for change in self.history:
            if change.action == "promote" and change.version not in answered[-1:]:
                answered.append(change.version)
            elif change.action == "rollback":
                while answered and answered[-1] != change.version:
                    answered.pop()
        return answered[-2] if answered[-1:] == [self.stable] and len(answered) > 1 else None

    def rollback(self, *, by: str, reason: str) -> "Rollout":
        """Makes the previous version answer again, at once: it is loaded. What answered until now stays loaded.

        Raises:
            NothingToRollBackTo: no version answered before, or it is not loaded any more.
        """
        version = self.previous
        if version is None or version not in self.keep:
            loaded = f"version {version} is not loaded any more; promote it" if version else "none answered before"
            raise NothingToRollBackTo(f"version {self.stable} stays: {loaded}")
        assert self.stable is not None
        keep = tuple(sorted({*self.keep, self.stable} - {version}))
        return self._changed("rollback", version, by, reason, {"from": self.stable}, stable=version, keep=keep)

    def drop(self, version: int, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Lets go of a version that was preloaded and did not make it."""
        keep = tuple(number for number in self.keep if number != version)
        return self._changed("reject", version, by, reason, detail, keep=keep)

    def _changed(
        self, action: str, version: int, by: str, reason: str, detail: dict[str, Any] | None, **update: Any
    ) -> "Rollout":
        change = Change(at=datetime.now(UTC), action=action, version=version, by=by, reason=reason, detail=detail or {})
        return self.model_copy(update={**update, "history": (*self.history, change)[-HISTORY:]})


def read(store: Store, model: str) -> Rollout:
    """The rollout of a model; an empty one if nothing was ever promoted.

    Raises:
        CorruptData: the file cannot be understood.
    """
    try:
        return Rollout.model_validate_json((store.folder(model) / FILE).read_bytes())
    except FileNotFoundError:
        return Rollout()
    except ValueError as error:
        raise CorruptData(f"rollout of {model} is damaged: {first_line(error)}") from error


def change(store: Store, model: str, edit: Callable[[Rollout], Rollout]) -> Rollout:
    """Reads, edits and writes a rollout under the store's lock, then renders the model server's configuration."""
    with store.lock():
        changed = edit(read(store, model))
        replace_file(store.folder(model) / FILE, changed.model_dump_json(indent=1).encode())
        write_config(store)
        return changed


def write_config(store: Store) -> None:
    """Renders ``models.config`` from all rollouts."""
    replace_file(store.root / CONFIG, render(store).encode())


def render(store: Store) -> str:
    """TensorFlow Serving's ``ModelServerConfig`` in text format, with specific versions only.

    A model without a version is left out: its base path would make the server unload, or wait for, everything.
    Labels are left out too: the server validates them before it has loaded the versions they name, and the gateway
    resolves them itself.
    """
    entries = []
    for model in store.models():
        loaded = read(store, model).loaded
        if loaded:
            versions = " ".join(f"versions: {number}" for number in loaded)
            entries.append(
                f'  config {{ name: "{model}" base_path: "{store.folder(model).resolve()}" '
                f'model_platform: "tensorflow" model_version_policy {{ specific {{ {versions} }} }} }}\n'
            )
    return "model_config_list {\n" + "".join(entries) + "}\n"
