"""Commands whose modules are imported when they are called: to import all of them takes a second."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from modelyard.models.errors import ModelyardError
from modelyard.services.cli.exit_codes import INTERRUPTED
from modelyard.services.cli.help_examples import EXAMPLES

PACKAGE = "modelyard.services.cli.commands"
ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True}


class NotInstalled(ModelyardError):
    """A command whose packages are not installed."""


class LazyCommands(MutableMapping[str, Any]):
    """Commands by name, each made when it is looked up."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """Places are ``module:name`` of a function or a ``Typer``."""
        self._places = dict(places)
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = make_command(name, self._places[name])
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._places[name] = ""
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class LazyGroup(TyperGroup):
    """A group that knows the names of its commands, and no more."""

    places: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = LazyCommands(self.places)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # Typer's signature
        return list(self.commands)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Names alone: for their help all modules would be imported, while somebody waits for a key to answer."""
        from typer._click.shell_completion import CompletionItem

        names = [CompletionItem(name) for name in self.commands if name.startswith(incomplete)]
        return names or super().shell_complete(ctx, incomplete)


@contextmanager
def exit_at_interrupt() -> Iterator[None]:
    """Ctrl-C ends the process at once: nothing is begun that would have to be ended, and no traceback helps anybody."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # a shell ignores it for background processes
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def make_command(name: str, place: str) -> Any:
    """A command, with its examples, from ``module:name``."""
    module, _, attribute = place.partition(":")
    settings: dict[str, Any] = {}
    try:
        with exit_at_interrupt():
            found = getattr(import_module(f"{PACKAGE}.{module}"), attribute)
    except ModuleNotFoundError as error:
        found, settings = make_substitute(f"modelyard {name}: {error}; pip install 'modelyard[local]'"), ANY_ARGUMENTS
    if isinstance(found, typer.Typer):
        command: Any = typer.main.get_group(found)
    else:
        app = typer.Typer(add_completion=False)
        app.command(name, context_settings=settings)(found)
        command = typer.main.get_command(app)
    command.name = name
    finish(command, name)
    return command


def make_substitute(why: str) -> Callable[[], None]:
    """In place of a command whose packages are not installed: it is listed, and says what it lacks."""

    def refuse() -> None:
        raise NotInstalled(why)

    refuse.__doc__ = f"Not installed here: {why}"
    return refuse


def finish(command: Any, path: str) -> None:
    """Examples below the help of a command, and of those in it.

    Help and errors are plain text: neither boxes nor lines that are cut at 80 columns in a pipe.
    """
    command.rich_markup_mode = None
    if path in EXAMPLES:
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[path])
    inside = getattr(command, "commands", {})
    for name, inner in () if isinstance(inside, LazyCommands) else inside.items():
        finish(inner, f"{path} {name}")
