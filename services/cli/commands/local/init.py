"""``modelyard init``: a new project, or an example for the one in the working directory."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from modelyard.models.errors import ModelyardError
from modelyard.models.sources.project_file import PROJECT
from modelyard.services.cli.options import AsJson, read_folders
from modelyard.services.cli.output import print_json
from modelyard.services.cli.project.files import add_examples, make_project


class NoProject(ModelyardError):
    """There is no project in the working directory, and none is to be made."""

    exit_code = 2


def init(
    folder: Annotated[Path | None, typer.Argument(metavar="NAME", help="Folder of the new project.")] = None,
    *,
    example: Annotated[
        list[str] | None, typer.Option(help="Copy this model of ours, too; may be repeated. Without NAME: only that.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a project: a model, its data, a test. It runs as it is."""
    if folder is None:
        made = add_examples(find_folder(), example) if example else []
        if not made:
            raise NoProject("expected the NAME of a new folder, or an --example for the project in this one")
    else:
        made = make_project(folder, example or ())
    if as_json:
        print_json({"files": [str(path) for path in made]})
        return
    for path in made:
        typer.echo(f"  {path}")
    if folder is not None:
        typer.echo(f"\nnext: cd {shlex.quote(str(folder))} && modelyard up")


def find_folder() -> Path:
    """The first folder of models of the project in the working directory; raises ``NoProject``."""
    if folders := read_folders():
        return Path(folders[0])
    raise NoProject(f"expected a {PROJECT} with `models` in this folder; `modelyard init NAME` makes a project")
