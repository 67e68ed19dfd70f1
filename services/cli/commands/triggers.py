"""``modelyard triggers``: what starts training jobs by itself."""

from typing import Annotated, Any

import typer

from modelyard.pipeline.job import RolloutTarget, parse_overrides
from modelyard.services.cli import output as show
from modelyard.services.cli.client import Client
from modelyard.services.cli.options import DEFAULT_URL, Url

app = typer.Typer(help="List what starts jobs of a model by itself; set or remove a trigger.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of your choice.")]


@app.command("list")
def listed(model: str, *, url: Url = DEFAULT_URL) -> None:
    """List a model's triggers."""
    found = Client(url).get(f"/api/models/{model}/triggers")["triggers"]
    rows = [(each["name"], condition(each), (each["fired_at"] or "")[:16] or None, each["job_id"]) for each in found]
    show.table("trigger", "when", "fired (UTC)", "job", rows=rows)


@app.command("set")
def put(
    model: str,
    name: Name,
    *,
    cron: Annotated[str | None, typer.Option(help="Five fields, in UTC.")] = None,
    feedback: Annotated[int | None, typer.Option(help="So many new answers with feedback.")] = None,
    floor: Annotated[float | None, typer.Option(help="Share of right answers that it falls below.")] = None,
    psi: Annotated[float | None, typer.Option(help="Population stability index that drift is above.")] = None,
    recipe: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Recipe value as key=value; repeatable.")] = None,
    rollout: Annotated[RolloutTarget, typer.Option(help="What becomes of the version.")] = "stable",
    with_feedback: Annotated[bool, typer.Option("--with-feedback", help="Train on feedback, too.")] = False,
    cooldown_h: Annotated[float, typer.Option(help="Least hours between two jobs.", min=0)] = 24.0,
    per_week: Annotated[int, typer.Option(help="Most jobs within seven days.", min=1)] = 7,
    url: Url = DEFAULT_URL,
) -> None:
    """Set a trigger, or another one in its place."""
    job = {
        "recipe": recipe,
        "overrides": parse_overrides(set_ or []),
        "rollout": rollout,
        "with_feedback": with_feedback,
    }
    asked: dict[str, Any] = {"job": job, "cooldown_s": 3600 * cooldown_h, "per_week": per_week}
    asked |= {key: value for key, value in (("cron", cron), ("feedback", feedback), ("psi", psi)) if value is not None}
    if floor is not None:
        asked["quality"] = {"floor": floor}
    found = Client(url).put(f"/api/models/{model}/triggers/{name}", asked)
    show.console.print(f"{found['name']}: {condition(found)}", markup=False)


@app.command()
def remove(model: str, name: Name, *, url: Url = DEFAULT_URL) -> None:
    """Remove a trigger."""
    Client(url).delete(f"/api/models/{model}/triggers/{name}")


def condition(trigger: dict[str, Any]) -> str:
    """When it is due, in words."""
    if trigger.get("cron"):
        return f"at {trigger['cron']} (UTC)"
    if trigger.get("feedback"):
        return f"after {trigger['feedback']} new answers with feedback"
    if trigger.get("psi"):
        return f"when something has moved by more than {trigger['psi']:g}"
    quality = trigger["quality"]
    return f"below {quality['floor']:.1%} right of the newest {quality.get('of', 200)}"
