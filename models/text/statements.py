"""Short statements of praise and blame, made by rule: what turns a sentence's polarity, and what does not.

Reviews are long, and what decides them is how often words occur; a sentence is decided by "not", "hardly", "without".
Each rule is a pattern with slots, and keeps the polarity of the words in it, turns it, or has one of its own
(``statements.toml``). Kaushik et al. 2020 (arXiv:1909.12434) showed what such contrasting texts do for a model.
What people say of single words is in ``rated_words.txt``.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from modelyard.models.text.vocabulary import tokenise
from modelyard.models.types import Array

_SECOND, _AROUND = 0.15, 0.2
"""Shares of texts with a second statement, with an opening, and with a closing."""
_CLEAR = 2.0
"""The rating of a word of the grammar that people did not rate."""
_SLOT = re.compile(r"\^?\b(?:EN|[A-Z])\b")
_ARTICLE = re.compile(r"\ba(?= [aeiou])")
_VOWELS = "aeiou"
_ENDS_SHORT = re.compile("[^aeiou]*[aeiou][^aeiouwxy]|forget|upset|enthral|cancel")
_POLAR = {
    "A": ("bad", "good"),
    "N": ("bad_nouns", "good_nouns"),
    "X": ("faults", "virtues"),
    "V": ("dislike", "like"),
    "P": ("disliked", "liked"),
    "W": ("annoy", "please"),
    "Y": ("worse", "better"),
    "Z": ("annoy_s", "please_s"),
    "E": ("annoy_ed", "please_ed"),
    "EN": ("annoy_en", "please_en"),
    "G": ("annoy_ing", "please_ing"),
    "U": ("badly", "well"),
    "J": ("worst", "best"),
}
"""Lists of words for the slots that have a polarity: negative and positive."""


@dataclass(frozen=True)
class Rule:
    """A pattern; ``turns``: it means the opposite of its words."""

    pattern: str
    turns: bool = False


@dataclass(frozen=True)
class Grammar:
    """What statements are made of."""

    words: dict[str, list[str]]
    phrases: dict[str, list[str]]
    rules: tuple[list[Rule], list[Rule]]
    """Rules for negative statements and for positive ones."""


@cache
def read_grammar() -> Grammar:
    """The grammar that ships with the project."""
    source = tomllib.loads((files("modelyard.models.text") / "statements.toml").read_text(encoding="utf-8"))
    words = {name: text.split() for name, text in source["words"].items()}
    pasts, perfects = (
        dict(pair.split(":") for pair in source["irregular"][form].split()) for form in ("past", "participle")
    )
    perfects = pasts | perfects
    for verbs in _POLAR["W"]:
        words[verbs] += _split_phrases(source["deeds"][verbs])
        forms: tuple[tuple[str, Callable[[str], str]], ...] = (
            ("s", _third_person),
            ("ed", lambda verb: pasts.get(verb) or _past(verb)),
            ("en", lambda verb: perfects.get(verb) or _past(verb)),
            ("ing", _continue),
        )
        for form, inflect in forms:
            words[f"{verbs}_{form}"] = [_inflect(deed, inflect) for deed in words[verbs]]
    phrases = {name: _split_phrases(text) for name, text in source["phrases"].items()}
    either = [Rule(pattern) for pattern in _lines(source, "keep")] + [Rule(one, True) for one in _lines(source, "turn")]
    rules = tuple(either + [Rule(pattern) for pattern in _lines(source, own)] for own in ("blame", "praise"))
    things = words["things"] + words["people"]
    subjects = [f"{article} {thing}" for article in ("the", "this", "their", "my") for thing in things]
    objects = [f"{article} {thing}" for article in ("the", "this") for thing in things]
    slots = {"O": things, "L": words["activities"], "S": subjects, "T": objects}
    slots["S"] = subjects + phrases["subjects"] * (len(subjects) // (2 * len(phrases["subjects"])))
    return Grammar(words, phrases | slots, (rules[0], rules[1]))


def make_statements(count: int, seed: int) -> tuple[list[str], Array]:
    """``count`` statements and whether each is positive, ``bool [count]``: every other one is."""
    generator, grammar = np.random.default_rng(seed), read_grammar()
    positive = np.arange(count) % 2 == 1
    return [_make_text(grammar, bool(each), generator) for each in positive], positive


def rate_words(words: Sequence[str]) -> Array:
    """How far each word praises or blames, from 4 to -4; 0 if nobody says so, and of words that turn others.

    People's ratings come first; of the grammar's polar words that they say nothing or the opposite of, its own do.
    """
    ratings = _list_ratings()
    return np.array([ratings.get(str(word), 0.0) for word in words], np.float32)


@cache
def list_words() -> frozenset[str]:
    """Words that statements are made of."""
    return frozenset(word for words in read_grammar().words.values() for deed in words for word in deed.split())


@cache
def list_polar_words() -> list[str]:
    """Words that people or the grammar say something of, and all others that statements are made of; in order."""
    found = {*_list_ratings(), *list_words()}
    return sorted(word for word in found if tokenise(word) == [word])


@cache
def _list_ratings() -> dict[str, float]:
    """By word."""
    lines = (files("modelyard.models.text") / "rated_words.txt").read_text(encoding="utf-8").splitlines()
    ratings = {word: float(mean) for word, mean in (line.split() for line in lines if not line.startswith("#"))}
    words = read_grammar().words
    blame, praise = ({word for pair in _POLAR.values() for word in words[pair[side]]} for side in (0, 1))
    for own, side in ((blame - praise, -1), (praise - blame, 1)):
        ratings |= {word: side * _CLEAR for word in own if side * ratings.get(word, 0.0) <= 0}
    return {word: rating for word, rating in ratings.items() if word not in words["turning"] and " " not in word}


def _make_text(grammar: Grammar, positive: bool, generator: np.random.Generator) -> str:
    """One or two statements of the same polarity, some with words around them that have none."""
    parts = [_state(grammar, positive, generator) for _ in range(1 + (generator.random() < _SECOND))]
    if generator.random() < _AROUND:
        parts.insert(0, _pick(grammar.phrases["openings"], generator))
    if generator.random() < _AROUND:
        parts.append(_pick(grammar.phrases["closings"], generator))
    return _ARTICLE.sub("an", " , ".join(parts))


def _state(grammar: Grammar, positive: bool, generator: np.random.Generator) -> str:
    rules = grammar.rules[positive]
    rule = rules[int(generator.integers(len(rules)))]
    return _SLOT.sub(lambda slot: _fill(grammar, slot[0], positive != rule.turns, generator), rule.pattern)


def _fill(grammar: Grammar, slot: str, positive: bool, generator: np.random.Generator) -> str:
    name = slot.removeprefix("^")
    if name in _POLAR:
        return _pick(grammar.words[_POLAR[name][positive != slot.startswith("^")]], generator)
    return _pick(grammar.phrases[name], generator)


def _pick(items: Sequence[str], generator: np.random.Generator) -> str:
    return items[int(generator.integers(len(items)))]


def _split_phrases(text: str) -> list[str]:
    """Phrases between commas; ``-`` is none."""
    found = [" ".join(phrase.split()) for phrase in text.split(",")]
    return ["" if phrase == "-" else phrase for phrase in found]


def _inflect(deed: str, inflect: Callable[[str], str]) -> str:
    """The first word in another form, and what follows it."""
    verb, *rest = deed.split(" ")
    return " ".join([inflect(verb), *rest])


def _third_person(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return f"{verb[:-1]}ies"
    return f"{verb}es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else f"{verb}s"


def _past(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return f"{verb[:-1]}ied"
    return f"{verb}d" if verb.endswith("e") else f"{_double_last(verb)}ed"


def _continue(verb: str) -> str:
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    return f"{verb[:-1]}ing" if verb.endswith("e") and not verb.endswith("ee") else f"{_double_last(verb)}ing"


def _double_last(verb: str) -> str:
    """The stem before "ed" and "ing": "dragg" of "drag", short verbs that end in one vowel and one consonant."""
    return verb + verb[-1] if _ENDS_SHORT.fullmatch(verb) else verb


def _lines(source: dict[str, dict[str, str]], kind: str) -> list[str]:
    return source["rules"][kind].strip().splitlines()
