"""``modelyard pools`` and ``move``: where models run, and moving one."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from modelyard.client.records import Pool
from modelyard.services.cli import output
from modelyard.services.cli.commands.rollouts import Reason, print_roles
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.options import AsJson, KeyFile, Url


def pools(*, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """List the pools of model servers, their memory, and the versions that each has loaded."""
    found = connect(url, key_file).models.pools()
    if as_json:
        output.print_json({"pools": [pool.raw for pool in found]})
        return
    output.print_table("pool", "servers", "memory", "models", rows=[*describe_pools(found)])


def move(
    model: str,
    pool: Annotated[str, typer.Argument(help="Pool that is to serve it.")],
    *,
    reason: Reason = "",
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Move a model to another pool of model servers: loaded there first, then it answers from there."""
    print_roles(model, connect(url, key_file).models.move(model, pool, reason).raw, as_json=as_json)


def describe_pools(found: Sequence[Pool]) -> Iterator[tuple[object, ...]]:
    """The rows of a table."""
    for pool in found:
        servers = f"{pool.reachable} of {pool.servers} reachable"
        memory = f"{pool.taken_mb:,} MB taken" + ("" if pool.memory_mb is None else f" of {pool.memory_mb:,}")
        versions = ", ".join(f"{each['model']} {each['version']}" for each in pool.versions)
        yield pool.name, servers, memory, versions
