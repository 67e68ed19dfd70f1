"""Short texts made by rule: what turns a statement, pairs that contrast, pieces of reviews."""

import re
from pathlib import Path

import numpy as np
import pytest

from modelyard.models.text.short_texts import CERTAINTY, contrast, cut_pieces, judge_pieces
from modelyard.models.text.statements import Grammar, make_statements, rate_words, read_grammar
from modelyard.models.text.vocabulary import tokenise

ROOT = Path(__file__).parents[3]
NEGATORS = {"not", "no", "never", "hardly", "nothing", "nobody", "without", "neither", "none", "far", "anything"}


def test_statements_are_balanced_and_the_same_for_a_seed() -> None:
    """Every other one is positive; a seed gives the same again, another seed others; no slot stays open."""
    texts, positive = make_statements(2_000, 5)
    assert positive.tolist() == [False, True] * 1_000
    assert make_statements(2_000, 5)[0] == texts
    assert make_statements(2_000, 6)[0] != texts
    assert len(set(texts)) > 1_700
    assert not [text for text in texts if re.search(r"[A-Z^]", text)]


def test_a_negation_alone_says_nothing() -> None:
    """Negators are about as common in praise as in blame: a model has to look at what they negate."""
    texts, positive = make_statements(8_000, 0)
    with_negator = np.array([bool(NEGATORS & set(tokenise(text))) for text in texts])
    shares = [with_negator[positive == side].mean() for side in (False, True)]
    assert abs(shares[0] - shares[1]) < 0.05
    assert min(shares) > 0.4


def test_a_polar_word_alone_says_little() -> None:
    """ "good" is in blame nearly as often as in praise, as rules that turn outnumber those that keep."""
    grammar = read_grammar()
    texts, positive = make_statements(8_000, 0)
    praising = set(grammar.words["good"]) - set(grammar.words["bad"])
    has = np.array([bool(praising & set(tokenise(text))) for text in texts])
    assert 0.35 < positive[has].mean() < 0.65


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return read_grammar()


def test_words_have_one_polarity(grammar: Grammar) -> None:
    """No word is both praise and blame; verbs and their pasts stand in pairs."""
    for bad, good in (("bad", "good"), ("bad_nouns", "good_nouns"), ("faults", "virtues"), ("annoy", "please")):
        assert not set(grammar.words[bad]) & set(grammar.words[good])
    for base, past in (("like", "liked"), ("dislike", "disliked")):
        assert all(each[:3] == other[:3] for each, other in zip(grammar.words[base], grammar.words[past], strict=True))


def test_verbs_take_their_forms(grammar: Grammar) -> None:
    """Third person, past and participles follow from the base, or from the lists of what is irregular."""
    forms = [
        [grammar.words[f"{kind}{form}"] for form in ("", "_s", "_ed", "_en", "_ing")] for kind in ("annoy", "please")
    ]
    found = {each[0]: each[1:] for kind in forms for each in zip(*kind, strict=True)}
    assert found["drag"] == ("drags", "dragged", "dragged", "dragging")
    assert found["crash"] == ("crashes", "crashed", "crashed", "crashing")
    assert found["satisfy"] == ("satisfies", "satisfied", "satisfied", "satisfying")
    assert found["lie"] == ("lies", "lied", "lied", "lying")
    assert found["break"] == ("breaks", "broke", "broken", "breaking")
    assert found["disappoint"] == ("disappoints", "disappointed", "disappointed", "disappointing")
    assert found["go wrong"] == ("goes wrong", "went wrong", "gone wrong", "going wrong")
    assert found["get stuck"] == ("gets stuck", "got stuck", "got stuck", "getting stuck")
    assert found["keep its word"][2] == "kept its word"


def test_perfect_tenses_take_the_participle(grammar: Grammar) -> None:
    """ "has not gone wrong", never "has not went wrong"; nor a base form, as in "have never like"."""
    pairs = [
        (past.split()[0], participle.split()[0])
        for kind in ("annoy", "please")
        for past, participle in zip(grammar.words[f"{kind}_ed"], grammar.words[f"{kind}_en"], strict=True)
    ]
    pasts = {past for past, participle in pairs if past != participle}
    participles = {participle for past, participle in pairs if past != participle}
    assert {"went", "broke", "took", "forgot"} <= pasts
    texts = " / ".join(make_statements(40_000, 0)[0])
    perfect = re.compile(r"\b(?:has|have)(?: (?:not|never|always|hardly))? (\w+)")
    said = set(perfect.findall(texts))
    assert not said & pasts
    assert len(said & participles) > 15
    assert not set(grammar.words["like"] + grammar.words["dislike"]) & said


def test_no_rule_repeats_the_suite_that_judges_it(grammar: Grammar) -> None:
    """No five words in a row of a rule stand in the suite of negations: it would measure its own rules.

    Nor do three of what things do, in any form.
    """
    lines = (ROOT / "benchmarks" / "texts_data" / "negations.tsv").read_text(encoding="utf-8").splitlines()
    suite = [tokenise(line.split("\t")[2]) for line in lines]
    there = {tuple(words[start : start + 5]) for words in suite for start in range(len(words) - 4)}
    patterns = [rule.pattern.split() for rules in grammar.rules for rule in rules]
    said = {tuple(words[start : start + 5]) for words in patterns for start in range(len(words) - 4)}
    assert len(there) > 300
    assert not there & said
    three = {tuple(words[start : start + 3]) for words in suite for start in range(len(words) - 2)}
    forms = [f"{verbs}{form}" for verbs in ("annoy", "please") for form in ("", "_s", "_ed", "_en", "_ing")]
    deeds = [deed.split() for form in forms for deed in grammar.words[form]]
    assert max(map(len, deeds)) > 4
    assert not three & {tuple(deed[start : start + 3]) for deed in deeds for start in range(len(deed) - 2)}


def test_a_review_is_turned_where_it_says_one_thing() -> None:
    """Plain sentences give a pair with opposite targets; negated, mixed and long ones none."""
    reviews = [
        "The acting was really superb. I never saw it coming. It is great but long.",
        "I loved it. The plot is awful and the music is awful.",
        "The plot was dreadful! It wasn't funny. I expected more of this " + "long " * 40 + "is bad.",
    ]
    made = contrast(reviews, np.array([1, 1, 0]), 100, seed=0)
    pairs = {
        said: (turned, label)
        for said, turned, label in zip(made.texts[::2], made.texts[1::2], made.targets[::2], strict=True)
    }
    assert set(pairs) == {"the acting was really superb.", "i loved it.", "the plot was dreadful!"}
    for said, (turned, label) in pairs.items():
        assert NEGATORS & set(tokenise(turned)), (said, turned)
        assert label == pytest.approx(1 - CERTAINTY if "dreadful" in said else CERTAINTY)
    np.testing.assert_allclose(made.targets[::2] + made.targets[1::2], 1, rtol=1e-6)


def test_contrasts_stop_at_their_number() -> None:
    """Two texts are one pair, however many more the reviews would give."""
    assert len(contrast(["The cast is superb."] * 9, np.ones(9, np.int32), 2, seed=0).texts) == 2


def test_pieces_are_sentences_of_their_review() -> None:
    """Each piece is cut from a review of the label it comes with, and no longer than 40 words."""
    reviews = [f"Good thing number {n}. It went on and on. " + "word " * 60 + "." for n in range(20)]
    labels = np.arange(20) % 2
    pieces, sides = cut_pieces(reviews, labels, 200, seed=0)
    assert 50 < len(pieces) == len(sides)
    assert all(3 <= len(tokenise(piece)) <= 40 for piece in pieces)
    for piece, side in zip(pieces, sides, strict=True):
        assert any(piece.strip() in review and labels[n] == side for n, review in enumerate(reviews))


def test_a_piece_is_judged_by_its_review_and_its_words() -> None:
    """Words without an opinion leave the review's; strong ones against it win; nothing is certain."""
    targets = judge_pieces(np.array([1, 0, 1, 1]), np.array([0.0, 0.0, -4.0, 9.0]))
    assert targets[0] == pytest.approx(0.731, abs=1e-3)
    assert targets[1] == pytest.approx(0.269, abs=1e-3)
    assert targets[2] < 0.06
    assert targets[3] == pytest.approx(CERTAINTY)


def test_people_and_grammar_rate_words() -> None:
    """Praise is above 0, blame below; people may rate what no rule has; what turns others, and the unknown, is 0."""
    ratings = rate_words(["excellent", "dreadful", "hungry", "grief", "sturdy", "not", "never", "film", "qwrtz"])
    assert ratings[0] > ratings[4] > 0 > ratings[3] > -4
    assert ratings[1] < -1
    assert ratings[5:].tolist() == [0, 0, 0, 0]


def test_no_polar_word_of_the_grammar_is_rated_the_other_way() -> None:
    """Where people say the opposite of what the rules mean, or nothing, the rules count."""
    words = read_grammar().words
    assert (rate_words([word for word in words["good"] if word not in words["bad"]]) > 0).all()
    assert (rate_words([word for word in words["bad"] if word not in words["good"]]) < 0).all()
