"""``modelyard train``: submits training jobs, and searches over many of them."""

from typing import Annotated, Literal

import typer

from modelyard.pipeline.job_options import DataPolicy, RolloutTarget, parse_overrides
from modelyard.services.cli import output
from modelyard.services.cli.commands.jobs import exit_with_outcome, print_job, print_wait
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.options import AsJson, KeyFile, Overrides, Url

Priority = Literal["high", "normal", "low"]
Data = Annotated[DataPolicy, typer.Option(help="auto: the real data, else the shipped sample.")]


def train(
    model: str,
    *,
    recipe: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    set_: Overrides = None,
    data: Data = "auto",
    rollout: Annotated[
        RolloutTarget,
        typer.Option(
            help="stable: promote; canary: 10 % of the requests first; manual: publish only; none: do not publish."
        ),
    ] = "stable",
    priority: Annotated[Priority, typer.Option(help="Priority in the queue.")] = "normal",
    budget: Annotated[float | None, typer.Option(help="Maximum seconds of training.", metavar="SECONDS")] = None,
    with_feedback: Annotated[bool, typer.Option("--with-feedback", help="Train on feedback too.")] = False,
    search: Annotated[
        int | None, typer.Option(help="Search the model's ranges, at low priority.", min=2, max=100, metavar="TRIALS")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search: equal seeds try equal values.", min=0)] = 0,
    promote_best: Annotated[
        bool, typer.Option("--promote-best", help="Promote the best version of the search.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the job ends.")] = False,
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Submit a training job, or a search over many of them."""
    client, overrides = connect(url, key_file), parse_overrides(set_ or [])
    options = {"recipe": recipe, "overrides": overrides, "data": data, "budget_s": budget}
    if search is not None:
        from modelyard.services.cli.commands.searches import submit_search

        searching = {"trials": search, "seed": seed, "promote_best": promote_best, "with_feedback": with_feedback}
        submit_search(client, {"model": model, **options, **searching}, wait=wait, as_json=as_json)
        return
    with output.doubt_on_interrupt("modelyard jobs"):
        job = client.jobs.submit(
            model,
            recipe=recipe,
            overrides=overrides,
            data=data,
            rollout=rollout,
            priority=priority,
            budget_s=budget,
            with_feedback=with_feedback,
        ).raw
    print_wait(job)
    if not wait:
        print_job(job, as_json=as_json, hint=f"; see `modelyard jobs follow {job['id']}`")
        return
    from modelyard.services.cli.follow import follow_one

    shown = output.errors if as_json else output.console
    exit_with_outcome(follow_one(client, job["id"], shown), as_json=as_json)
