"""Files of texts, words of any language, and the default network on them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from modelyard import texts
from modelyard.models.data import Schema, Split, Splits
from modelyard.models.defaults.texts import TextRecipe, make_defaults
from modelyard.models.errors import InvalidData
from modelyard.models.inputs import TextInput
from modelyard.models.text.vocabulary import pad, truncate
from modelyard.models.text.words import WordEncoder, encode_words, learn_words, split_words
from modelyard.models.types import Task

ROWS = [{"text": f"{'good' if number % 2 else 'bad'} film {number}", "label": number % 2} for number in range(200)]
SENTENCES = {
    "Das ist SEHR schön! Über-groß": "das ist sehr schön ! über groß",
    "это ОЧЕНЬ плохо…": "это очень плохо",
    "Ça n’est pas l'été": "ça n est pas l été",  # noqa: RUF001  # as people write
    "我很喜欢这部电影。": "我 很 喜 欢 这 部 电 影",
    "東京タワー？": "東 京 タ ワ ー ？",  # noqa: RUF001  # likewise
    "यह बहुत अच्छा है": "यह बहुत अच्छा है",
    "สวัสดี": "ส วั ส ดี",
    "مرحبا بالعالم": "مرحبا بالعالم",
    "가나다 라마": "가나다 라마",
    "ΑΒΓ αβγ": "αβγ αβγ",
    "İstanbul'da 3 gün": "i̇stanbul da 3 gün",
    "great 😀😀 10/10": "great 😀 😀 10 10",
    "e\u0301te\u0301": "e\u0301te\u0301",
    "  \t\n ": "",
    "": "",
}


def write_csv(folder: Path) -> str:
    (folder / "rows.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS))
    return "rows.csv"


def write_json_lines(folder: Path) -> str:
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return "rows.jsonl"


def write_parquet(folder: Path) -> str:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet")
    return "rows.parquet"


@pytest.mark.parametrize("write", [write_csv, write_json_lines, write_parquet])
def test_all_forms_of_a_file_give_the_same_parts(tmp_path: Path, write: Callable[[Path], str]) -> None:
    """Two classes by number; the text decides the part."""
    splits = texts(write(tmp_path)).read(tmp_path)
    assert splits.schema == Schema(TextInput(), "binary", ("0", "1"))
    reference = texts(write_csv(tmp_path)).read(tmp_path)
    for part, other in zip(
        (splits.train, splits.validation, splits.test),
        (reference.train, reference.validation, reference.test),
        strict=True,
    ):
        assert part.x.tolist() == other.x.tolist()
        assert part.y.tolist() == [1 if "good" in text else 0 for text in part.x]


def test_rows_without_a_text_are_left_out_and_counted(tmp_path: Path) -> None:
    """With the line of the first."""
    file = tmp_path / write_csv(tmp_path)
    file.write_text(file.read_text() + ",1\n  ,0\n")
    splits = texts("rows.csv").read(tmp_path)
    assert splits.notes == ("2 rows left out, whose 'text' is empty, the first in line 202",)
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 200


def test_a_number_to_predict_is_a_regression(tmp_path: Path) -> None:
    """And a few words are classes."""
    (tmp_path / "stars.csv").write_text(
        "review,stars,kind\n" + "".join(f"film {n},{n / 7},{'abc'[n % 3]}\n" for n in range(100))
    )
    stars = texts("stars.csv", text="review", label="stars").read(tmp_path)
    assert stars.schema
    assert (stars.schema.task, stars.train.y.dtype) == ("regression", np.float32)
    kinds = texts("stars.csv", text="review", label="kind").read(tmp_path).schema
    assert kinds
    assert (kinds.task, kinds.labels) == ("multiclass", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("content", "arguments", "problem"),
    [
        ("text,lable\na,b\n", {}, r"has no column 'label'; did you mean 'lable'\?"),
        ("text,label\n", {}, "has no rows"),
        ("text,label\na,b\nc,d\n", {}, "has 2 rows: at least 20"),
        ("text,label\n" + "a,b\n" * 30, {}, "is 'b' in every row"),
        ("text,label\n" + ",b\n,c\n" * 30, {}, "the column 'text' is empty in every row"),
        ("text,label\n" + "one,1\none,2\n" * 30, {}, "60 rows are too few: one of three parts has none"),
        ("text,label\n" + "a,b\nc,\n" * 30, {}, "line 3, column 'label': the target is missing"),
        ("text,label,text\n" + "a,b,c\n" * 30, {}, "have one name, 'text'"),
    ],
)
def test_a_file_that_cannot_be_learned_from_is_refused(
    tmp_path: Path, content: str, arguments: dict[str, Any], problem: str
) -> None:
    """With the file, and the row or the column."""
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(InvalidData, match=problem) as error:
        texts("rows.csv", **arguments).read(tmp_path)
    assert "rows.csv" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("rows.txt",), "expected a file .csv, .parquet, .jsonl, received '.txt'"),
        (("rows.csv", "a", "a"), "text and label are the same column, 'a'"),
    ],
)
def test_wrong_arguments_are_said_at_once(arguments: tuple[str, ...], problem: str) -> None:
    """When the model's file is imported."""
    with pytest.raises(InvalidData, match=problem):
        texts(*arguments)


@pytest.mark.parametrize("text", SENTENCES)
def test_words_are_found_in_any_language(text: str) -> None:
    """Letters, marks and digits of any script in lower case; characters where no space divides words; emoji."""
    assert b" ".join(split_words([text])[0].numpy()).decode() == SENTENCES[text]


def test_the_graph_gives_the_ids_that_were_learned_from() -> None:
    """Padded and truncated alike."""
    sentences = [*SENTENCES, " ".join(SENTENCES)]
    vocabulary, ids = learn_words(sentences, 1000, 1)
    expected = pad([row.row(0) for row in (truncate(ids[n : n + 1], 12) for n in range(len(ids)))])
    encode = WordEncoder({"vocabulary": vocabulary, "max_tokens": np.array(12)})
    np.testing.assert_array_equal(encode(tf.constant(sentences)).numpy(), expected)
    np.testing.assert_array_equal(encode_words(sentences, vocabulary).flat, ids.flat)


def make_splits(y: Any, task: Task, labels: tuple[str, ...]) -> Splits:
    x = np.array([f"{'ja' if number % 2 else 'nein'} {['eins', 'zwei', 'drei'][number % 3]}" for number in range(60)])
    split = Split(x.astype(object), y)
    return Splits(split, split, split, schema=Schema(TextInput(), task, labels))


NUMBERS = np.arange(60)
TASKS: dict[str, Splits] = {
    "binary": make_splits((NUMBERS % 2).astype(np.int32), "binary", ("no", "yes")),
    "multiclass": make_splits((NUMBERS % 3).astype(np.int32), "multiclass", ("a", "b", "c")),
    "two of three": make_splits((NUMBERS % 2 * 2).astype(np.int32), "multiclass", ("a", "b", "c")),
    "multilabel": make_splits(
        np.stack([NUMBERS % 2, NUMBERS % 3 == 0, NUMBERS < 0], axis=1).astype(np.float32), "multilabel", ("a", "b", "c")
    ),
    "regression": make_splits((NUMBERS % 3 * 10).astype(np.float32), "regression", ()),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_network_starts_from_a_linear_model(name: str) -> None:
    """Untrained, it answers as scikit-learn's model on the same n-grams; for every task, in the graph."""
    splits = TASKS[name]
    assert splits.schema
    steps = make_defaults(splits.schema)
    recipe = TextRecipe(max_tokens=8)
    prepared = steps.prepare(splits, recipe)
    assert steps.encode
    encode = steps.encode(prepared.state)
    answers = np.asarray(steps.build(recipe, prepared.state)(encode(tf.constant(splits.test.x.tolist()))))
    y = splits.test.y
    if name == "regression":
        np.testing.assert_allclose(answers[:, 0], y, atol=3)
    elif name == "multilabel":
        np.testing.assert_array_equal(answers > 0.5, y == 1)
    elif name == "binary":
        np.testing.assert_array_equal(answers[:, 0] > 0.5, y == 1)
    else:
        np.testing.assert_array_equal(answers.argmax(axis=1), y)
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    x, targets = prepared.train[0]
    assert (x.ndim, targets.ndim, len(x)) == (2, 2, 60)


def test_texts_without_a_common_word_are_refused() -> None:
    """Nothing could be learned from them."""
    x = np.array([f"word{number}" for number in range(60)], object)
    split = Split(x, (NUMBERS % 2).astype(np.int32))
    steps = make_defaults(Schema(TextInput(), "binary", ("no", "yes")))
    with pytest.raises(InvalidData, match="no word in common"):
        steps.prepare(Splits(split, split, split), TextRecipe())
