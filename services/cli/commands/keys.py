"""``modelyard keys``: creates, lists and revokes API keys in the ledger itself, so it can make the first key.

It runs where the ledger and the secret of the keys can be read, as in the gateway's container.
"""

from contextlib import closing
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from modelyard.models.errors import ModelyardError, describe_problem
from modelyard.services.cli import output
from modelyard.services.cli.options import AsJson, name_author
from modelyard.services.cli.settings import open_ledger
from modelyard.services.keys import DAYS, MAX_DAYS, Key, KeyRequest, Role
from modelyard.services.settings import KeySettings

app = typer.Typer(help="Create, list or revoke API keys. Runs where the ledger is.", no_args_is_help=True)


class InvalidKey(ModelyardError):
    """The values of a key are invalid; the text has which."""

    exit_code = 2


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Owner of the key, such as ann or checkout-service.")],
    *,
    role: Annotated[Role, typer.Option(help="Permissions of the key.")],
    model: Annotated[list[str] | None, typer.Option(help="Only for this model; may be repeated.")] = None,
    days: Annotated[int, typer.Option(help="Days until it expires.", min=1, max=MAX_DAYS)] = DAYS,
    as_json: AsJson = False,
) -> None:
    """Create a key, and print it. It is not shown again."""
    request, settings = parse_key(name, role, model or [], days), KeySettings.load()
    secret = settings.key_bytes
    with closing(open_ledger(settings)) as ledger:
        key, text = ledger.keys.create(request, name_author(), secret)
    if as_json:
        output.print_json(describe_key(key) | {"key": text})
    else:
        output.console.print(text, markup=False)
    models = ", ".join(key.models) or "all models"
    output.errors.print(
        f"{key.prefix} for {key.name}: {key.role} of {models}, until {key.expires_at:%Y-%m-%d}. "
        "It is not shown again: store it now. Gateways accept it within five seconds.",
        markup=False,
        soft_wrap=True,
    )


@app.command("list")
def list_keys(*, as_json: AsJson = False) -> None:
    """List keys, without their secrets; expired and revoked ones too."""
    with closing(open_ledger(KeySettings.load())) as ledger:
        found = ledger.keys.list_keys()
    if as_json:
        output.print_json({"keys": [describe_key(key) for key in found]})
        return
    rows = [
        (
            *(key.prefix, key.name, key.role, ", ".join(key.models) or "all", key.state),
            *(f"{key.created_at:%Y-%m-%d %H:%M}", f"{key.expires_at:%Y-%m-%d}", key.by),
        )
        for key in found
    ]
    output.print_table("key", "name", "role", "models", "state", "created (UTC)", "expires", "by", rows=rows)


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(metavar="KEY", help="Prefix, as listed by `modelyard keys list`.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: every gateway refuses it within five seconds."""
    with closing(open_ledger(KeySettings.load())) as ledger:
        key = ledger.keys.revoke(prefix, name_author())
    if as_json:
        output.print_json(describe_key(key))
    else:
        output.errors.print(f"{key.prefix} of {key.name} is revoked", markup=False)


def describe_key(key: Key) -> dict[str, Any]:
    """A key without its secret, as ``GET /api/keys`` has it."""
    times = {name: getattr(key, name) for name in ("created_at", "expires_at", "revoked_at")}
    about = {"prefix": key.prefix, "name": key.name, "role": key.role.value, "models": list(key.models)}
    return about | {"state": key.state, "by": key.by} | times


def parse_key(name: str, role: Role, models: list[str], days: int) -> KeyRequest:
    """The values of a key, checked; raises ``InvalidKey``."""
    try:
        return KeyRequest(name=name, role=role, models=tuple(models), days=days)
    except ValidationError as error:
        problem = error.errors()[0]
        raise InvalidKey(f"{'.'.join(map(str, problem['loc'])) or 'key'}: {describe_problem(problem['msg'])}") from None
