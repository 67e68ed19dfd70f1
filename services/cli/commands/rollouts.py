"""``modelyard promote``, ``rollback`` and ``rollout``: which version answers."""

from typing import Annotated, Any

import typer

from modelyard.services.cli import output as show
from modelyard.services.cli.client import Client
from modelyard.services.cli.options import DEFAULT_URL, Url

Reason = Annotated[str, typer.Option(help="Kept in the model's history.")]

Force = Annotated[bool, typer.Option("--force", help="Overrule the gate; needs a reason.")]


def promote(
    model: str,
    version: int,
    *,
    reason: Reason = "",
    force: Force = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Let a version answer, once it gives the answers that it gave in training."""
    asked = {"version": version, "reason": reason, "force": force}
    print_roles(model, Client(url).post(f"/api/models/{model}:promote", asked))


def rollback(model: str, *, reason: Reason = "", url: Url = DEFAULT_URL) -> None:
    """Let the version before answer again, at once."""
    print_roles(model, Client(url).post(f"/api/models/{model}:rollback", {"reason": reason}))


def rollout(
    model: str,
    *,
    canary: Annotated[int | None, typer.Option(help="Version that gets a share of the requests; 0 ends it.")] = None,
    percent: Annotated[float, typer.Option(help="That share.", min=0, max=100)] = 10.0,
    by_hand: Annotated[bool, typer.Option("--by-hand", help="Leave it to a person to judge the canary.")] = False,
    shadow: Annotated[int | None, typer.Option(help="Version that is asked and compared; 0 ends it.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME=VERSION; NAME= takes it away. Repeatable.")] = None,
    reason: Reason = "",
    force: Force = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show which version answers, and who decided what, the newest first; or give versions roles."""
    client = Client(url)
    asked: dict[str, Any] = {}
    if canary is not None:
        asked["canary"] = {"version": canary, "percent": percent, "judged": not by_hand} if canary else None
    if shadow is not None:
        asked["shadow"] = shadow or None
    if label:
        asked["labels"] = labels_of(label)
    if asked:
        client.post(f"/api/models/{model}/rollout", asked | {"reason": reason, "force": force})
    found = client.get(f"/api/models/{model}/rollout")
    print_roles(model, found)
    print_changes(found["history"])


def labels_of(pairs: list[str]) -> dict[str, int | None]:
    """``["blue=7", "green="]`` -> ``{"blue": 7, "green": None}``."""
    found: dict[str, int | None] = {}
    for pair in pairs:
        name, sign, version = pair.partition("=")
        if not sign or not (version.isdecimal() or not version):
            raise typer.BadParameter(f"--label expects NAME=VERSION, received {pair!r}")
        found[name] = int(version) if version else None
    return found


def print_record(found: dict[str, Any]) -> None:
    """A version's decision record."""
    data, made, environment = found["data"], found["training"], found["environment"]
    verdict = found["verdict"]
    roles = "removed" if found["removed"] else ", ".join(found["roles"]) or ("loaded" if found["loaded"] else "no role")
    metrics = " · ".join(show.metric(name, value) for name, value in found["metrics"].items())
    libraries = " · ".join(
        f"{name} {environment[name]}" for name in ("backend", "python", "tensorflow", "keras", "numpy")
    )
    lines = {
        "version": f"{found['version']} of {found['model']}, {found['created_at'][:19]} UTC ({roles})",
        "data": f"{show.dataset(data)}, {data['train']:,} to train on, {data['feedback']:,} of them from feedback",
        "fingerprint": data["fingerprint"],
        "recipe": " ".join([found["recipe"]["name"], *(f"{k}={v}" for k, v in found["recipe"]["values"].items())]),
        "training": f"{made['epochs']} epochs, {made['wall_s']:.0f} s, {environment['device']}",
        "begun with": f"the weights of version {made['started_from']}" if made["started_from"] else "random weights",
        "test": metrics,
        "verdict": ("accepted: " if verdict["accepted"] else "rejected: ") + "; ".join(verdict["reasons"]),
        "code": f"{environment['code']} · {libraries}",
        "job": found["job"] or "-",
    }
    for name, text in lines.items():
        show.console.print(f"{name:<12}{text}", markup=False, soft_wrap=True)
    print_changes(found["changes"])


def print_changes(changes: list[dict[str, Any]]) -> None:
    rows = [
        (change["at"][:19].replace("T", " "), change["action"], change["version"], change["by"], told(change))
        for change in changes
    ]
    show.table("when (UTC)", "what", "version", "by", "why", rows=rows)


def told(change: dict[str, Any]) -> str:
    """What a person said, or else what was found."""
    return str(change["detail"].get("why") or change["reason"])


def print_roles(model: str, found: dict[str, Any]) -> None:
    roles = [f"version {found['stable']} answers"]
    if canary := found["canary"]:
        judge = "judged by what is observed" if canary["judged"] else "for a person to judge"
        roles.append(f"{canary['version']} gets {canary['percent']:g} % ({judge})")
    if shadow := found["shadow"]:
        roles.append(f"{shadow['version']} is its shadow")
    roles += [f"{version} is labelled {name}" for name, version in found["labels"].items()]
    kept = ", ".join(map(str, found["keep"]))
    show.console.print(f"{model}: {'; '.join(roles)}" + (f"; also loaded: {kept}" if kept else ""), markup=False)
