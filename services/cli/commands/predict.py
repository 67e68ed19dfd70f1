"""``modelyard predict``: one prediction, of whatever a model takes."""

import sys
from typing import Annotated

import typer

from modelyard.client.steps import JSON
from modelyard.services.cli import output
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.options import AsJson, KeyFile, Url
from modelyard.services.cli.prediction_body import read_prediction_body


def predict(
    model: str,
    given: Annotated[
        str,
        typer.Argument(
            metavar="FILE|JSON|TEXT|-",
            help='An image, JSON, CSV or text file; a row such as {"age": 41}; a text; - for stdin.',
        ),
    ],
    *,
    version: Annotated[int | None, typer.Option(help="A version other than the stable one.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why, too: weights of words, pixels or columns.")
    ] = False,
    as_json: AsJson = False,  # noqa: ARG001  # it is JSON in any case
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Get a prediction from a model, as JSON."""
    standard_input = sys.stdin.buffer.read() if given == "-" else None
    body, content_type = read_prediction_body(given, standard_input)
    query = {"explain": "1"} | ({"labels": "scores"} if content_type == JSON else {}) if explain else None
    answer = connect(url, key_file).predict_raw(model, body, content_type=content_type, version=version, query=query)
    output.print_json(answer.json())
