"""Short texts that people rated (Hutto & Gilbert 2014), from the source distribution of the package vaderSentiment.

    pip download --no-binary :all: --no-deps vaderSentiment==3.3.2 && tar xf vaderSentiment-3.3.2.tar.gz

They are read where they lie, and are not a part of this project. A line is an id, a mean rating and a text, by tabs.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.robustness.texts import Suite
from modelyard.models.text.statements import read_grammar
from modelyard.models.text.vocabulary import tokenise

FOLDER = "additional_resources/hutto_ICWSM_2014"
CLEAR = 1.0
"""Ratings nearer to nothing, of -4..4, are no class."""
SOURCES = (
    ("film", "movieReviewSnippets", "sentences of film reviews", True),
    ("product", "amazonReviewSnippets", "sentences of product reviews", False),
    ("tweets", "tweets", "of anything", False),
)


def read_rated_suites(distribution: Path) -> Iterator[Suite]:
    """Of each source all texts, and those with a word that may turn them.

    Args:
        distribution: the unpacked folder ``vaderSentiment-3.3.2``.
    """
    turning = set(read_grammar().words["turning"])
    for name, file, summary, made_for in SOURCES:
        rows = [(text, int(rating > 0)) for rating, text in read_ratings(distribution / FOLDER, file)]
        negated = [row for row in rows if turning & set(tokenise(row[0]))]
        for kind, what, chosen in (("", "", rows), (", negated", ", those with a negator", negated)):
            texts, classes = [text for text, _ in chosen], [label for _, label in chosen]
            yield Suite(f"rated by people, {name}{kind}", summary + what, texts, classes, made_for)


def read_ratings(folder: Path, name: str) -> Iterator[tuple[float, str]]:
    """Clear ratings, and their texts."""
    for line in (folder / f"{name}_GroundTruth.txt").read_text(encoding="utf-8", errors="replace").splitlines():
        _, rating, text = line.split("\t")[:3]
        if abs(float(rating)) >= CLEAR:
            yield float(rating), text
