"""``modelyard triggers``: conditions that start training jobs automatically."""

from typing import Annotated, Any

import typer

from modelyard.client.steps import encode_path
from modelyard.pipeline.job_options import RolloutTarget, parse_overrides
from modelyard.services.cli import output
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.options import AsJson, KeyFile, Overrides, Url

app = typer.Typer(
    help="List triggers, which start training jobs automatically; set or remove one.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the trigger.")]


@app.command("list")
def list_triggers(model: str, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """List a model's triggers."""
    body = connect(url, key_file).call("GET", encode_path("api", "models", model, "triggers"))
    if as_json:
        output.print_json(body)
        return
    found = body["triggers"]
    rows = [
        (each["name"], describe_condition(each), (each["fired_at"] or "")[:16] or None, each["job_id"])
        for each in found
    ]
    output.print_table("trigger", "condition", "fired (UTC)", "job", rows=rows)


@app.command("set")
def set_trigger(
    model: str,
    name: Name,
    *,
    cron: Annotated[str | None, typer.Option(help="Cron expression of five fields, in UTC.")] = None,
    feedback: Annotated[int | None, typer.Option(help="Number of new predictions with feedback.")] = None,
    floor: Annotated[
        float | None, typer.Option(help="Accuracy that the newest predictions fall below, 0 to 1.")
    ] = None,
    psi: Annotated[float | None, typer.Option(help="Population stability index that drift exceeds.")] = None,
    recipe: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    set_: Overrides = None,
    rollout: Annotated[RolloutTarget, typer.Option(help="Role of the new version.")] = "stable",
    with_feedback: Annotated[bool, typer.Option("--with-feedback", help="Train on feedback too.")] = False,
    cooldown_h: Annotated[float, typer.Option(help="Minimum hours between two jobs.", min=0)] = 24.0,
    per_week: Annotated[int, typer.Option(help="Maximum of jobs within seven days.", min=1)] = 7,
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Set a trigger, or replace it."""
    job = {
        "recipe": recipe,
        "overrides": parse_overrides(set_ or []),
        "rollout": rollout,
        "with_feedback": with_feedback,
    }
    client = connect(url, key_file)
    found = client.triggers.set(
        model,
        name,
        cron=cron,
        feedback=feedback,
        floor=floor,
        psi=psi,
        job=job,
        cooldown_s=3600 * cooldown_h,
        per_week=per_week,
    ).raw
    if as_json:
        output.print_json(found)
    else:
        output.console.print(f"{found['name']}: {describe_condition(found)}", markup=False)


@app.command()
def remove(model: str, name: Name, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """Remove a trigger."""
    connect(url, key_file).triggers.remove(model, name)
    if as_json:
        output.print_json({"model": model, "removed": name})


def describe_condition(trigger: Any) -> str:
    """The condition in words."""
    if trigger.get("cron"):
        return f"at {trigger['cron']} (UTC)"
    if trigger.get("feedback"):
        return f"after {trigger['feedback']} new predictions with feedback"
    if trigger.get("psi"):
        return f"drift (PSI) above {trigger['psi']:g}"
    quality = trigger["quality"]
    return f"accuracy below {quality['floor']:.1%} over the newest {quality.get('of', 200)}"
