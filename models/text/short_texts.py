"""Short texts to learn from, beside whole reviews: pieces of reviews, contrasting pairs, statements made by rule."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import expit

from modelyard.models.text.statements import make_statements, read_grammar
from modelyard.models.types import Array

CERTAINTY = 0.95
"""Probability that a text made by rule means what the rule says."""
_REVIEW_LOG_ODDS = 1.0
"""What the label of a review says of one of its sentences."""
_SHORTEST, _LONGEST = 3, 40
"""Words of a piece."""
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|<br[^>]*>")
_WORDS = re.compile(r"[\w-]+")
_ADVERBS = "(?:very|so|really|quite|pretty|extremely|absolutely|truly|just|also|rather)"
_TURNING = re.compile(
    r"n't|\b(?:not|no|never|but|though|although|if|however|hardly|without|except|nor|neither|than|too|would|could"
    r"|despite)\b"
)
_BE_NOT = (
    "not",
    "not",
    "never",
    "hardly",
    "not at all",
    "by no means",
    "far from",
    "anything but",
    "no longer",
    "not so",
)
_DO_NOT = (
    "i did not {}",
    "i did not really {}",
    "i never {}",
    "i can not say i {}",
    "i do not think i {}",
    "i could not {}",
)


@dataclass(frozen=True)
class ShortTexts:
    """Texts and the probability that each is positive."""

    texts: list[str]
    targets: Array
    """``float32 [N]``"""

    def __add__(self, other: "ShortTexts") -> "ShortTexts":
        return ShortTexts(self.texts + other.texts, np.concatenate([self.targets, other.targets]))


def state(count: int, seed: int) -> ShortTexts:
    """``count`` statements made by rule."""
    texts, positive = make_statements(count, seed)
    return ShortTexts(texts, be_certain(positive))


def cut_pieces(reviews: Sequence[str], labels: Array, count: int, seed: int) -> tuple[list[str], Array]:
    """One or two sentences each, from ``count`` reviews at most, and the labels of those reviews (``int [N]``)."""
    generator = np.random.default_rng(seed)
    texts, found = [], []
    for index in generator.integers(len(reviews), size=count):
        piece = _cut_piece(reviews[index], generator)
        if _SHORTEST <= piece.count(" ") + 1 <= _LONGEST:
            texts.append(piece)
            found.append(labels[index])
    return texts, np.array(found, np.int32)


def judge_pieces(labels: Array, log_odds: Array) -> Array:
    """Targets ``float32 [N]`` from what the review's label says, and what a linear model makes of the words."""
    odds = _REVIEW_LOG_ODDS * (2 * labels - 1) + log_odds
    targets: Array = np.clip(expit(odds), 1 - CERTAINTY, CERTAINTY).astype(np.float32)
    return targets


def contrast(reviews: Sequence[str], labels: Array, count: int, seed: int) -> ShortTexts:
    """Sentences of reviews that say one thing with one polar word, and the same with that turned; ``count`` at most."""
    generator = np.random.default_rng(seed)
    texts: list[str] = []
    positive: list[bool] = []
    for index in generator.permutation(len(reviews)):
        for sentence in _SENTENCE_ENDS.split(reviews[index].lower()):
            pair = _turn(sentence, int(labels[index]), generator)
            if pair and len(texts) < count:
                texts += pair
                positive += [bool(labels[index]), not labels[index]]
        if len(texts) >= count:
            break
    return ShortTexts(texts, be_certain(np.array(positive, bool)))


def _cut_piece(review: str, generator: np.random.Generator) -> str:
    sentences = _SENTENCE_ENDS.split(review)
    first = int(generator.integers(len(sentences)))
    return " ".join(sentences[first : first + 1 + int(generator.integers(2))])


def _turn(sentence: str, label: int, generator: np.random.Generator) -> list[str] | None:
    """``[as it is, turned]``, if the sentence is short, plain, and says what the review's label says."""
    patterns = _polar_patterns()
    if sentence.count(" ") > _LONGEST // 2 or len(patterns.polar.intersection(_WORDS.findall(sentence))) != 1:
        return None
    if _TURNING.search(sentence):
        return None
    saying = patterns.saying.search(sentence)
    if saying and patterns.adjectives[saying[2]] == label:
        turned = f"{saying[1]} {_BE_NOT[generator.integers(len(_BE_NOT))]} {saying[2]}"
        return [sentence, sentence[: saying.start()] + turned + sentence[saying.end() :]]
    doing = patterns.doing.search(sentence)
    if doing and patterns.verbs[doing[1]][0] == label:
        turned = _DO_NOT[generator.integers(len(_DO_NOT))].format(patterns.verbs[doing[1]][1])
        return [sentence, sentence[: doing.start()] + turned + sentence[doing.end() :]]
    return None


@dataclass(frozen=True)
class PolarPatterns:
    """Where a sentence says of something that it is good or bad, and that someone liked it or did not."""

    adjectives: dict[str, int]
    """Label by word."""
    verbs: dict[str, tuple[int, str]]
    """Label and base form by past."""
    polar: frozenset[str]
    saying: re.Pattern[str]
    doing: re.Pattern[str]


@cache
def _polar_patterns() -> PolarPatterns:
    words = read_grammar().words
    adjectives = {word: label for label, kind in enumerate(("bad", "good")) for word in words[kind]}
    verbs = {
        past: (label, base)
        for label, (bases, pasts) in enumerate((("dislike", "disliked"), ("like", "liked")))
        for base, past in zip(words[bases], words[pasts], strict=True)
    }
    either = "|".join(map(re.escape, adjectives))
    return PolarPatterns(
        adjectives,
        verbs,
        frozenset([*adjectives, *verbs]),
        re.compile(rf"\b(is|was|are|were) (?:{_ADVERBS} )?({either})\b"),
        re.compile(rf"\bi (?:{_ADVERBS} )?({'|'.join(verbs)})\b"),
    )


def be_certain(positive: Array) -> Array:
    """Targets ``float32 [N]`` of texts of which it is known whether they are positive (``bool [N]``)."""
    return np.where(positive, CERTAINTY, 1 - CERTAINTY).astype(np.float32)
