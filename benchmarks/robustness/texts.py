"""Reviews and short texts as people send them, and texts that say nothing.

Suites that were written for it are files ``benchmarks/texts_data/NAME.tsv``: class id, group and text, by tabs. Those
below ``validation`` are for choices; no five words in a row are in both.
"""

import html
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.robustness.kinds import Random, pick

WRITTEN = Path(__file__).parent.parent / "texts_data"
WRITTEN_FOR_CHOICES = WRITTEN / "validation"
CONSONANTS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True)
class Suite:
    """Texts of one kind; ``classes`` are their class ids, or None where they belong to no class."""

    name: str
    summary: str
    texts: Sequence[str]
    classes: Sequence[int] | None
    made_for: bool = True


@dataclass(frozen=True)
class TextKind:
    """A change to reviews that keeps what they say."""

    name: str
    summary: str
    change: Callable[[str, Random], str]

    def make(self, texts: Sequence[str], classes: Sequence[int], seed: int) -> Suite:
        random = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        return Suite(self.name, self.summary, [self.change(text, random) for text in texts], classes)


def _escape(text: str, _: Random) -> str:
    """As a page's source has it; apostrophes by number, as many frameworks write them."""
    return html.escape(text, quote=False).replace("'", "&#39;").replace('"', "&quot;")


def _mark_up(text: str, _: Random) -> str:
    sentences = text.split(". ")
    return "<p>" + ".</p>\n<p>".join(f"<span class='review'>{each}</span>" for each in sentences) + "</p>"


def _misspell(text: str, random: Random) -> str:
    """In each tenth word two letters change places."""
    words = text.split(" ")
    for place in np.flatnonzero(random.random(len(words)) < 0.1):
        word = words[place]
        if len(word) > 3:
            at = int(random.integers(1, len(word) - 2))
            words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def _typeset(text: str, _: Random) -> str:
    """Curly apostrophes and quotes, long dashes, as word processors and phones set them."""
    return text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace(" - ", " \N{EM DASH} ")


TEXTS = (
    TextKind("as in the data set", "a whole review", lambda text, _: text),
    TextKind("escaped", "`&#39;` for `'`, `&quot;`, `&amp;`", _escape),
    TextKind("marked up", "HTML around each sentence", _mark_up),
    TextKind("in capitals", "", lambda text, _: text.upper()),
    TextKind("curly quotes", "as phones set them", _typeset),
    TextKind("misspelt", "two letters swapped in a tenth of the words", _misspell),
    TextKind("last 20 words", "of a review", lambda text, _: " ".join(text.split()[-20:])),
)


def read_written_suites(folder: Path = WRITTEN) -> Iterator[Suite]:
    """A suite for each file as a whole, and for each of its groups."""
    for path in sorted(folder.glob("*.tsv")):
        rows = [line.split("\t", 2) for line in path.read_text().splitlines() if line]
        for group in (None, *dict.fromkeys(row[1] for row in rows)):
            chosen = [row for row in rows if group in (None, row[1])]
            texts, classes = [row[2] for row in chosen], [int(row[0]) for row in chosen]
            name, summary = (f"{path.stem}, {group}", f"such as {texts[0]!r}") if group else (path.stem, "all of them")
            yield Suite(name, summary, texts, classes)


def make_other_suites(count: int, seed: int) -> Sequence[Suite]:
    """Texts without a word of English."""
    random = np.random.default_rng([seed, 1])
    return (
        Suite("nothing", "spaces and signs", [_signs(random) for _ in range(count)], None),
        Suite("unknown words", "3 to 40 words that nobody has", [_gibberish(random) for _ in range(count)], None),
        Suite("other scripts", "letters of Chinese, Arabic, Cyrillic", [_foreign(random) for _ in range(count)], None),
    )


def _signs(random: Random) -> str:
    signs = ("...", "?", "!", "-", "\N{SECTION SIGN}", "#", "  ", "\N{WHITE STAR}", "=", "~")
    text = " ".join(pick(random, signs) for _ in range(random.integers(1, 12)))
    return text if text.strip() else signs[0]  # a gateway refuses white space alone


def _gibberish(random: Random) -> str:
    return " ".join(
        "".join(random.choice(list(CONSONANTS), random.integers(5, 11))) for _ in range(random.integers(3, 41))
    )


def _foreign(random: Random) -> str:
    first, last = ((0x4E00, 0x9FA0), (0x0620, 0x064A), (0x0430, 0x0450))[random.integers(3)]
    return " ".join(
        "".join(map(chr, random.integers(first, last, random.integers(2, 9)))) for _ in range(random.integers(3, 20))
    )
