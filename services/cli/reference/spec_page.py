"""``docs/spec.md``: all that a model's file may say, from the docstrings of the code."""

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from modelyard.models import data, inputs, readers, recipes, spec

HEAD = """# What a model's file may say

Written from the docstrings of the code, which editors show too; `make docs` writes it. [models.md](models.md) leads
through it with examples, [data.md](data.md) says how data is read and split.

Everything here is imported from `modelyard` itself: `from modelyard import ModelSpec, Gate, table`.
"""
CLASSES: Sequence[tuple[str, type]] = (
    ("## ModelSpec", spec.ModelSpec),
    ("## Gate", spec.Gate),
    ("## What the author says in the model card: Card", spec.Card),
    ("## A training loop of one's own: FitRun", spec.FitRun),
    ("## What `prepare` returns: PreparedData", spec.PreparedData),
    ("## What `baseline` returns: Baseline", spec.Baseline),
    ("## Inputs\n\n### ImageInput", inputs.ImageInput),
    ("### Ink", inputs.Ink),
    ("### TextInput", inputs.TextInput),
    ("### VectorInput", inputs.VectorInput),
    ("### SequenceInput", inputs.SequenceInput),
    ("### NumberInput", inputs.NumberInput),
    ("### CategoryInput", inputs.CategoryInput),
    ("### DateInput", inputs.DateInput),
    ("## Data\n\n### Dataset", data.Dataset),
    ("### Splits", data.Splits),
    ("### Split", data.Split),
    ("### Schema", data.Schema),
)
CODE = re.compile(r"``([^`]+)``")


def page() -> str:
    """The whole page."""
    classes = (f"{title}\n\n{describe_class(of)}" for title, of in CLASSES)
    return "\n".join([HEAD, *map(describe_reader, list_readers()), *classes, f"## Recipe\n\n{describe_recipe()}"])


def describe_class(of: type) -> str:
    """Its docstring, and a table of its fields."""
    texts = read_field_texts(of)
    rows = [f"| `{entry.name}` | {describe_default(entry)} | {texts.get(entry.name, '')} |" for entry in fields(of)]
    shown = [row for row in rows if not row.startswith(("| `kind`", "| `file`"))]
    return "\n".join([*paragraphs(inspect.getdoc(of) or ""), "", "| field | default | |", "|---|---|---|", *shown, ""])


def describe_recipe() -> str:
    """The values that every recipe has."""
    rows = []
    for entry in fields(recipes.Recipe):
        metadata = getattr(entry.type, "__metadata__", ())
        (description,) = (found.description for found in metadata if getattr(found, "description", ""))
        rows.append(f"| `{entry.name}` | {describe_default(entry)} | {description} |")
    doc = paragraphs(inspect.getdoc(recipes.Recipe) or "")
    return "\n".join([*doc, "", "| value | default | |", "|---|---|---|", *rows, ""])


def read_field_texts(of: type) -> dict[str, str]:
    """The strings below the fields of a class, on one line each."""
    (tree,) = ast.parse(inspect.getsource(of)).body
    assert isinstance(tree, ast.ClassDef)
    found, last = {}, ""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last:
            found[last] = to_markdown(" ".join(str(node.value.value).split())).replace("|", "\\|")
    return found


def describe_default(entry: "Field[Any]") -> str:
    """The default as code; empty for a field that has to be given, and for one that follows from others."""
    if entry.default is not MISSING:
        default = getattr(entry.default, "default", entry.default)
        return "" if default in (None, "", ()) else f"`{default!r}`"
    return "" if entry.default_factory is not MISSING else "has to be given"


def list_readers() -> Iterator[ast.FunctionDef]:
    """The functions of ``modelyard.models.readers`` that make a dataset, without importing what reads files."""
    for path in sorted(Path(readers.__path__[0]).glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and returns_dataset(node):
                yield node


def returns_dataset(node: ast.FunctionDef) -> bool:
    return isinstance(node.returns, ast.Name) and node.returns.id == "Dataset"


def describe_reader(node: ast.FunctionDef) -> str:
    """A function's signature and docstring."""
    signature = f"{node.name}({ast.unparse(node.args)})"
    lines = paragraphs(ast.get_docstring(node) or "")
    return "\n".join([f"## {node.name}", "", "```python", signature, "```", "", *lines, ""])


def paragraphs(text: str) -> list[str]:
    """A docstring as Markdown; its sections become lists."""
    found: list[str] = []
    for line in text.splitlines():
        if re.fullmatch(r"(Args|Raises|Returns):", line):
            found += [line, ""]
        elif match := re.match(r" {4}(\w+): (.*)", line):
            found.append(f"- `{match[1]}`: {to_markdown(match[2])}")
        else:
            found.append(to_markdown(line.strip() if not line.startswith(" " * 8) else f"  {line.strip()}"))
    return found


def to_markdown(text: str) -> str:
    """Code in single backquotes."""
    return CODE.sub(r"`\1`", text)
