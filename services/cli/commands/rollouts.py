"""``modelyard promote``, ``rollback`` and ``rollout``: the roles of versions."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from modelyard.client import UNCHANGED, Client, NotFound
from modelyard.client.steps import encode_path
from modelyard.models.types import DEFAULT_POOL
from modelyard.services.cli import output
from modelyard.services.cli.commands.observed import print_observed
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.options import AsJson, KeyFile, Url

Reason = Annotated[str, typer.Option(help="Kept in the model's history.")]

Force = Annotated[bool, typer.Option("--force", help="Promote it although the gate rejected it; needs a reason.")]


def promote(
    model: str,
    version: int,
    *,
    reason: Reason = "",
    force: Force = False,
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Make a version stable, once the model server gives its golden outputs."""
    found = connect(url, key_file).models.promote(model, version, reason=reason, force=force)
    print_roles(model, found.raw, as_json=as_json)


def rollback(
    model: str,
    *,
    reason: Reason = "",
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Make the previous stable version stable again, at once."""
    print_roles(model, connect(url, key_file).models.rollback(model, reason).raw, as_json=as_json)


def rollout(
    model: str,
    *,
    canary: Annotated[int | None, typer.Option(help="Version that gets a share of the requests; 0 ends it.")] = None,
    percent: Annotated[
        float | None,
        typer.Option(help="Percent of the requests for the canary: 10, or its first step.", min=0, max=100),
    ] = None,
    steps: Annotated[
        str,
        typer.Option(
            help="Shares of the canary one after the other, such as 5,25,50; 5:500,25:2000 also says how many answers "
            "each needs."
        ),
    ] = "",
    enough: Annotated[
        int | None, typer.Option(help="Answers that are enough for the next step or a promotion.", min=1)
    ] = None,
    abort_only: Annotated[
        bool, typer.Option("--abort-only", help="Canary analysis may end the canary, and never promotes it.")
    ] = False,
    manual: Annotated[bool, typer.Option("--manual", help="Do not promote or end the canary automatically.")] = False,
    shadow: Annotated[
        int | None, typer.Option(help="Version that gets copies of requests for comparison; 0 ends it.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="NAME=VERSION; NAME= removes the label; may be repeated.")
    ] = None,
    fallback: Annotated[
        bool | None,
        typer.Option(
            help="Whether the version before answers while the stable one cannot be loaded.", show_default=False
        ),
    ] = None,
    reason: Reason = "",
    force: Force = False,
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Show the roles of versions, what was observed of them and their history; or change roles."""
    client = connect(url, key_file)
    client.models.rollout(
        model,
        canary=UNCHANGED if canary is None else canary or None,
        percent=percent,
        judge="off" if manual else "abort-only" if abort_only else "full",
        steps=parse_steps(steps),
        enough=enough,
        shadow=UNCHANGED if shadow is None else shadow or None,
        labels=parse_labels(label or []),
        fallback=fallback,
        reason=reason,
        force=force,
    )
    found = client.models.rollout(model).raw  # as changed, with what was observed
    evidence = read_canary(client, model) if found["canary"] else None
    if as_json:
        output.print_json({**found, "canary_evidence": evidence})
        return
    print_roles(model, found)
    print_observed(found, evidence)
    print_changes(found["history"])


def parse_steps(text: str) -> list[dict[str, float | int]]:
    """``"5:500,25"`` -> ``[{"percent": 5.0, "enough": 500}, {"percent": 25.0}]``."""
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        percent, colon, enough = part.partition(":")
        try:
            found.append({"percent": float(percent)} | ({"enough": int(enough)} if colon else {}))
        except ValueError:
            raise typer.BadParameter(f"--steps expects PERCENT or PERCENT:ANSWERS; received {part!r}") from None
    return found


def read_canary(client: Client, model: str) -> Any:
    """The evidence of the canary; None of a gateway that has no such route."""
    try:
        return client.call("GET", encode_path("api", "models", model, "canary"))
    except NotFound:
        return None


def parse_labels(pairs: list[str]) -> dict[str, int | None]:
    """``["blue=7", "green="]`` -> ``{"blue": 7, "green": None}``."""
    found: dict[str, int | None] = {}
    for pair in pairs:
        name, sign, version = pair.partition("=")
        if not sign or not (version.isdecimal() or not version):
            raise typer.BadParameter(f"--label expects NAME=VERSION, received {pair!r}")
        found[name] = int(version) if version else None
    return found


def describe_version(entry: dict[str, Any]) -> tuple[object, ...]:
    """The cells of a version, behind its number."""
    created = entry["created_at"][:19].replace("T", " ")
    data = output.format_dataset(entry["data"]) if entry["data"] else None
    recipe = entry["recipe"]["name"] if entry["recipe"] else "imported"
    return entry["state"], output.format_test(entry["verdict"]), data, recipe, created


def print_record(found: dict[str, Any]) -> None:
    """A version's decision record."""
    environment, verdict = found["environment"], found["verdict"]
    roles = "removed" if found["removed"] else ", ".join(found["roles"]) or ("loaded" if found["loaded"] else "no role")
    metrics = " · ".join(output.format_metric(name, value) for name, value in found["metrics"].items())
    libraries = " · ".join(
        f"{name} {environment[name]}" for name in ("backend", "python", "tensorflow", "keras", "numpy")
    )
    lines = {
        "version": f"{found['version']} of {found['model']}, {found['created_at'][:19]} UTC ({roles})",
        **(describe_import(found["imported"]) if found["imported"] else describe_training(found)),
        "test": metrics or "nothing was measured",
        **describe_uncertainty(found.get("uncertainty")),
        "verdict": ("accepted: " if verdict["accepted"] else "rejected: ") + "; ".join(verdict["reasons"]),
        "code": f"{environment['code']} · {libraries}",
        "job": found["job"] or "-",
    }
    for name, text in lines.items():
        output.console.print(f"{name:<12}{text}", markup=False, soft_wrap=True)
    print_changes(found["changes"])


def describe_training(found: dict[str, Any]) -> dict[str, str]:
    """The lines of a record on what the version was trained on, and how."""
    data, training, recipe = found["data"], found["training"], found["recipe"]
    return {
        "data": f"{output.format_dataset(data)}, {data['train']:,} for training, {data['feedback']:,} of them feedback",
        "fingerprint": data["fingerprint"],
        "classes": ", ".join(f"{label} {count:,}" for label, count in data.get("classes", {}).items()) or "-",
        "missing": ", ".join(f"{name} {share:.1%}" for name, share in data.get("missing", {}).items()) or "-",
        **{f"warning {number}": text for number, text in enumerate(data.get("warnings", ()), 1)},
        "recipe": " ".join([recipe["name"], *(f"{key}={value}" for key, value in recipe["values"].items())]),
        "training": f"{training['epochs']} epochs, {training['wall_s']:.0f} s, {found['environment']['device']}",
        "start": f"the weights of version {training['started_from']}" if training["started_from"] else "random weights",
    }


def describe_uncertainty(found: dict[str, Any] | None) -> dict[str, str]:
    """The lines of a record on what a version says of how sure it is."""
    if not found or not (found["coverage"] or found["typicality"]["methods"]):
        return {}
    sets = [
        f"{each['percent']} %: {each['covered']:.2%} covered"
        + (f", {each['mean_size']:.2f} labels on average" if each["mean_size"] is not None else "")
        for each in found["coverage"]
        if each["covered"] is not None
    ]
    flagged, error = found["typicality"]["flagged"], found["ece_before"]
    typical = [f"{flagged:.2%} of the test split is not typical"] if flagged is not None else []
    before = [f"temperature {found['temperature']:g}, ece without it {error:.4f}"] if error is not None else []
    return {"uncertain": " · ".join([*sets, *typical, *before, *found["notes"]])}


def describe_import(imported: dict[str, Any]) -> dict[str, str]:
    """The lines of a record on where a version came from that was trained elsewhere."""
    test, writer = imported["test"], imported["tensorflow"] or "of an unknown version"
    return {
        "imported": f"{imported['form']} {imported['path']}, written by TensorFlow {writer}",
        "files": "; ".join(f"{name} {digest[:16]}" for name, digest in sorted(imported["files"].items())),
        "data": f"{test['name']} {test['sha256'][:16]}, {test['examples']:,} for testing" if test else "none given",
    }


def print_changes(changes: list[dict[str, Any]]) -> None:
    """The history, the newest change first."""
    rows = [
        (change["at"][:19].replace("T", " "), change["action"], change["version"], change["by"], read_reason(change))
        for change in changes
    ]
    output.print_table("at (UTC)", "action", "version", "by", "reason", rows=rows)


def read_reason(change: dict[str, Any]) -> str:
    """What was found, or else the reason given."""
    return str(change["detail"].get("why") or change["reason"])


def describe_placement(placement: Mapping[str, Any]) -> list[str]:
    """Where the model runs, if not where every model does that nobody has placed."""
    pool, arriving = placement.get("pool", DEFAULT_POOL), placement.get("arriving")
    if pool == DEFAULT_POOL and not arriving:
        return []
    return [f"pool: {pool}" + (f", {arriving} is loading it" if arriving else "")]


JUDGES = {"full": "automatic analysis", "abort-only": "analysis that only ends it", "off": "manual analysis"}


def describe_plan(canary: Mapping[str, Any]) -> str:
    """Who decides about a canary, and its steps."""
    steps = " → ".join(f"{step['percent']:g}" for step in canary["steps"])
    return JUDGES[canary["judge"]] + (f", steps {steps} %" if steps else "")


def print_roles(model: str, found: Mapping[str, Any], *, as_json: bool = False) -> None:
    """Which version has which role, in one line; or the whole rollout."""
    if as_json:
        output.print_json(found)
        return
    roles = [f"stable: version {found['stable']}"]
    if canary := found["canary"]:
        roles.append(f"canary: version {canary['version']}, {canary['percent']:g} % ({describe_plan(canary)})")
    if shadow := found["shadow"]:
        roles.append(f"shadow: version {shadow['version']}")
    roles += [f"label {name}: version {version}" for name, version in found["labels"].items()]
    if not found["fallback"]:
        roles.append("no fallback")
    roles += describe_placement(found.get("placement") or {})
    loaded = ", ".join(map(str, found["keep"]))
    output.console.print(f"{model}: {'; '.join(roles)}" + (f"; also loaded: {loaded}" if loaded else ""), markup=False)
