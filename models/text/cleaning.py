"""What texts from the web carry besides words, as rewrites that Python's ``re`` and RE2 (``tf.strings``) read alike.

Markup goes, entities become what they stand for, typographic apostrophes become plain, accents go, every "n't" becomes
the word "not" (negation carries sentiment), faces and thumbs become the word that they say.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

_FOLDED = "aceinouy"
"""Letters whose marks go."""
_LATIN_1_END = 0x100
_ENTITY_MARKS = "acute|grave|circ|uml|tilde|cedil|ring|slash|caron"
_LIKES = (
    "\U0001f600-\U0001f606\U0001f609-\U0001f60e\U0001f617-\U0001f61d\U0001f642\U0001f917\U0001f929\U0001f970"
    "\U0001f44c\U0001f44d\U0001f44f\U0001f64c\U0001f389\U0001f525\U0001f4af\u263a\u2b50\U0001f31f"
)
_LOVES = "\u2764\u2665\U0001f495-\U0001f49f\U0001f9e1\U0001f90d\U0001f90e"
_DISLIKES = "\U0001f612-\U0001f616\U0001f61e-\U0001f623\U0001f625-\U0001f62c\U0001f641\u2639\U0001f644\U0001f494"
_HATES = "\U0001f44e\U0001f4a9\U0001f621\U0001f624\U0001f922\U0001f92c\U0001f92e"
_CONTRACTED = "ca|wo|do|does|did|is|was|are|were|has|have|had|could|would|should|must|need|ai"


def _letters(base: str) -> list[str]:
    """Every Latin letter that is ``base`` with marks, in either case."""
    return [chr(code) for code in range(0xC0, 0x180) if unicodedata.normalize("NFD", chr(code))[0].lower() == base]


def _fold_entity(base: str) -> tuple[str, str]:
    codes = [ord(letter) for letter in _letters(base) if ord(letter) < _LATIN_1_END]
    numbers = "|".join(f"{code}|x0*{code:x}" for code in codes)
    return f"&(?:{base}(?:{_ENTITY_MARKS})|#0*(?:{numbers}));", base


ENTITIES: tuple[tuple[str, str], ...] = (
    ("&(?:amp;)+", "&"),  # texts that were escaped twice, too
    ("&(?:apos|[lr]squo|#0*39|#x0*27|#821[67]|#x201[89]);", "'"),
    ("&(?:lt|#0*60|#x0*3c);", "<"),
    ("&(?:gt|#0*62|#x0*3e);", ">"),
    ("&(?:excl|#0*33|#x0*21);", "!"),
    *(_fold_entity(base) for base in _FOLDED),
    ("&(?:#x?[0-9a-f]+|[a-z]+[0-9]*);", " "),
)
BEYOND_ASCII: tuple[tuple[str, str], ...] = (
    ("[\u2018\u2019\u201b\u02bc\u00b4]", "'"),
    ("[\u0300-\u036f\u00ad\u200b-\u200d\u2060\ufe0f\ufeff]+", ""),
    *((f"[{''.join(_letters(base))}]", base) for base in _FOLDED),
    (f"[{_LIKES}]", " good "),
    (f"[{_LOVES}]", " love "),
    (f"[{_DISLIKES}]", " bad "),
    (f"[{_HATES}]", " awful "),
)
ASCII: tuple[tuple[str, str], ...] = (
    ("</?[a-z][^<>]*>", " "),
    ("<3+", " love "),
    (":-?\\)+|;-?\\)+|=\\)+", " good "),
    (":'?-?\\(+|=\\(+", " bad "),
    ("`", "'"),
    ("cannot", "can not"),
    ("n't", " not "),
    (f"\\b({_CONTRACTED})nt\\b", "\\1 not"),
    ("\\bca not\\b", "can not"),
    ("\\bwo not\\b", "will not"),
)


def _compile(rewrites: tuple[tuple[str, str], ...]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern, re.ASCII), replacement) for pattern, replacement in rewrites]


_ENTITIES, _BEYOND_ASCII, _ASCII = _compile(ENTITIES), _compile(BEYOND_ASCII), _compile(ASCII)
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
LETTERS = "a-z0-9\u00c0-\u1fff\u3040-\ud7ff"
"""A character class: what words are made of. ASCII in lower case; every other letter of the Basic Multilingual Plane as
it is, so that words do not depend on a Unicode version."""


def clean(text: str) -> str:
    """``text`` in lower case (ASCII), rewritten."""
    text = text.lower() if text.isascii() else text.translate(_ASCII_LOWER)
    if "&" in text:
        text = _rewrite(text, _ENTITIES)
    if not text.isascii():
        text = _rewrite(text, _BEYOND_ASCII)
    return _rewrite(text, _ASCII)


def _rewrite(text: str, rewrites: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in rewrites:
        text = pattern.sub(replacement, text)
    return text


def clean_in_graph(texts: Any) -> Any:
    """The same of ``string [N]`` (UTF-8), by ``tf.strings``.

    Most texts have neither entities nor letters beyond ASCII: what rewrites those stands apart in the graph.
    """
    import tensorflow as tf

    texts = tf.strings.lower(texts)  # bytes A-Z only, as no encoding is given
    plain = tf.strings.regex_full_match(texts, "[\\x00-%'-\\x7f]*")  # no "&"
    rewrite_others = _make_rewrite_others()
    texts = tf.cond(tf.reduce_all(plain), lambda: texts, lambda: rewrite_others(texts, plain))
    return _rewrite_in_graph(texts, ASCII)


@cache
def _make_rewrite_others() -> Callable[[Any, Any], Any]:
    """A function of the graph that is not inlined: as a part of it, each of its operations would cost all texts."""
    import tensorflow as tf

    def rewrite_others(texts: Any, plain: Any) -> Any:
        places = tf.dynamic_partition(tf.range(tf.size(texts)), tf.cast(plain, tf.int32), 2)
        others = _rewrite_in_graph(tf.gather(texts, places[0]), (*ENTITIES, *BEYOND_ASCII))
        return tf.dynamic_stitch(places, [others, tf.gather(texts, places[1])])

    apart: Callable[[Any, Any], Any] = tf.function(
        rewrite_others, autograph=False, experimental_attributes={"_noinline": True}
    )
    return apart


def _rewrite_in_graph(texts: Any, rewrites: tuple[tuple[str, str], ...]) -> Any:
    import tensorflow as tf

    for pattern, replacement in rewrites:
        texts = tf.strings.regex_replace(texts, pattern, replacement)
    return texts
