"""``keel rewards try``: one line for each row, with its reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keel.cli import app


def tried(folder: Path, term: str, rows: list[Any], *settings: str) -> list[dict[str, Any]]:
    data, out = folder / "rows.jsonl", folder / "out.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ["rewards", "try", "--term", term, "--data", str(data), "--out", str(out)]
    result = CliRunner().invoke(app, [*words, *(word for each in settings for word in ("--set", each))])
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [set(line) for line in found] == [{"score", "reason"}] * len(rows)
    return found


def test_accuracy_takes_each_rows_verifier(tmp_path: Path) -> None:
    rows = [
        {"response": r"\boxed{7}", "answer": "7"},
        {"response": r"\boxed{7 squared}", "answer": 7},
        {"response": "The answer is B.", "answer": "B", "verifier": "choice"},
        {
            "response": [{"role": "assistant", "content": "<answer>Paris</answer>"}],
            "answer": "Paris",
            "verifier": "exact",
        },
        {"response": "x", "answer": "7", "verifier": "essay"},
        {"response": r"\boxed{7}"},
        {"answer": "7"},
        "not json",
        {"response": r"\boxed{7}", "answer": "it is not known to us"},
        {"response": '{"a": [1]}', "answer": {"a": [1]}, "verifier": "json"},
    ]
    found = tried(tmp_path, "accuracy", rows)
    assert [line["score"] for line in found] == [1.0, 0.0, 1.0, 1.0, None, None, None, None, None, 1.0]
    reasons = [line["reason"] for line in found]
    assert "read 7; the reference is 7" in reasons[0]
    assert "words: 7 squared" in reasons[1]
    assert "the letter B" in reasons[2]
    assert "no verifier 'essay'" in reasons[4]
    assert "no answer" in reasons[5]
    assert "no text in the column response" in reasons[6]
    assert "no JSON object" in reasons[7]
    assert "the reference cannot be used" in reasons[8]


def test_arguments_are_set_and_the_form_of_an_answer_is_named(tmp_path: Path) -> None:
    row = {"response": r"\boxed{27+10}", "answer": "37"}
    (strict,) = tried(tmp_path, "accuracy_math", [row])
    assert strict["score"] == 0.0
    assert "not written as a final answer" in strict["reason"]
    assert tried(tmp_path, "math", [row], "answer_form=any", "workers=1")[0]["score"] == 1.0


@pytest.mark.parametrize(
    ("term", "row", "score", "reason"),
    [
        ("format", {"response": "<think>a</think>5"}, 0.0, "tags"),
        ("language", {"response": "Le chat noir dort sur le lit.", "language": "English"}, 0.0, "foreign: Le chat"),
        ("language", {"response": "words", "language": "Klingon"}, None, "Klingon"),
        ("language", {"response": "words"}, None, "no language"),
        ("repetition", {"response": "wait " * 500}, -0.9979209979209979, "occurred before"),
        ("overlong", {"response": "x"}, None, "column tokens"),
        ("accuracy_choice", {"response": "B", "answer": "B", "verifier": "json"}, None, "for 'choice'"),
        ("accuracy_regex", {"response": "5", "answer": "(" * 5000 + ")" * 5000}, None, "is not a pattern"),
        (
            "align.rewards.gold:GoldUnsafe",
            {"response": "x", "domain": "safety", "prompt": "hi"},
            0.0,
            "gives no reason",
        ),
    ],
)
def test_reasons_of_each_term(term: str, row: dict[str, Any], score: float | None, reason: str, tmp_path: Path) -> None:
    settings = ("max_tokens=10", "buffer=5") if term == "overlong" else ()
    (found,) = tried(tmp_path, term, [row], *settings)
    assert found["score"] == (score if score is None else pytest.approx(score))
    assert reason in found["reason"]


def test_rows_with_the_same_prompt_are_a_group(tmp_path: Path) -> None:
    rows = [{"prompt": p, "response": "x" * n} for p, n in (("a", 10), ("b", 5), ("a", 30), ("c", 7))]
    found = tried(tmp_path, "length_in_group", rows)
    assert [each["score"] for each in found] == [0.0, None, -0.5, None]
    assert found[1]["reason"] == "its group has no other sample"
    assert found[2]["reason"] == "30 characters; the mean of its group is 20.0"


def test_the_column_group_goes_before_the_prompt(tmp_path: Path) -> None:
    rows = [{"group": g, "response": "x" * n} for g, n in ((0, 10), (1, 5), (0, 30), (1, 5))]
    assert [each["score"] for each in tried(tmp_path, "length_in_group", rows)] == [0.0, 0.0, -0.5, 0.0]


def test_constraints_are_read_in_the_layouts_of_public_data_sets(tmp_path: Path) -> None:
    ids = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    title = "[{'instruction_id': ['detectable_format:title'], 'kwargs': [None]}]"
    rows = [
        {**ids, "response": "all of this is fine"},
        {**ids, "response": "this, however, is not"},
        {"ground_truth": title, "response": "<<Lamps>>\nThey give light at night."},
        {
            "ground_truth": [{"instruction_id": ["detectable_format:title"], "kwargs": None}],
            "response": "No title here.",
        },
        {**ids, "kwargs": [], "response": "x"},
        {"response": "x"},
    ]
    found = tried(tmp_path, "instructions", rows)
    assert [each["score"] for each in found] == [1.0, 0.0, 1.0, 0.0, None, None]
    assert "1 constraints, and 'kwargs' 0" in found[4]["reason"]
    assert found[5]["reason"].endswith("the row has no instructions")


def test_mistakes_end_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"response": "x"}\n')
    words = ["rewards", "try", "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out.jsonl"), "--term"]
    for extra, message in ((["nothing"], "no term 'nothing'"), (["format", "--set", "answer"], "write key=value")):
        result = CliRunner().invoke(app, [*words, *extra])
        assert result.exit_code == 2
        assert message in result.output


def attempt(folder: Path, content: bytes, out: str = "out.jsonl", term: str = "format") -> Any:
    (folder / "rows.jsonl").write_bytes(content)
    words = ["rewards", "try", "--term", term, "--data", str(folder / "rows.jsonl"), "--out", str(folder / out)]
    return CliRunner().invoke(app, words)


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    content = b'{"response": "x"}\n'
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "rows.jsonl")
    for out in ("rows.jsonl", "link.jsonl"):
        result = attempt(tmp_path, content, out)
        assert result.exit_code == 2
        assert "is one of the inputs" in result.output
    assert (tmp_path / "rows.jsonl").read_bytes() == content
    assert "is a directory" in attempt(tmp_path, content, ".").output


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_an_error(content: bytes, tmp_path: Path) -> None:
    result = attempt(tmp_path, content)
    assert result.exit_code == 2
    assert f"no rows in {tmp_path / 'rows.jsonl'}" in result.output
    assert not (tmp_path / "out.jsonl").exists()


def test_a_byte_order_mark_is_no_part_of_the_first_row_and_rows_without_a_score_are_counted(tmp_path: Path) -> None:
    result = attempt(tmp_path, b'\xef\xbb\xbf{"response": "<think>a</think>5"}\n{}\n')
    assert result.exit_code == 0
    assert "1 of 2 rows scored, mean 0; 1 row has no score, see the reason (the row has no text" in result.output


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert "rows.jsonl is not UTF-8 at byte 0" in attempt(tmp_path, b"\xff\xfe{\x00").output
    words = ["rewards", "try", "--term", "format", "--out", str(tmp_path / "out.jsonl"), "--data"]
    assert f"--data: no file {tmp_path / 'none'}" in CliRunner().invoke(app, [*words, str(tmp_path / "none")]).output
    assert "is a directory, not a file" in CliRunner().invoke(app, [*words, str(tmp_path)]).output


def test_a_missing_argument_is_named(tmp_path: Path) -> None:
    assert "helpful needs 'model'" in attempt(tmp_path, b'{"response": "x"}', term="helpful").output


def test_rows_of_other_formats_are_read_and_a_reference_that_is_empty_gives_no_score(tmp_path: Path) -> None:
    verifier = "accuracy_exact"
    contents = {
        "a.csv": b"response,answer,verifier\nParis,Paris,exact\nRome,Paris,exact\n",
        "a.json": b'[{"response": "Paris", "answer": "Paris", "verifier": "exact"},'
        b' {"response": "Rome", "answer": " ", "verifier": "exact"}]',
        "a.jsonl.gz": gzip.compress(b'{"response": "Paris", "answer": "Paris", "verifier": "exact"}\n'),
        "b.csv": b"response;answer\nParis;Paris\n",
        "b.json": b"[]",
    }
    said, scores = {}, {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        out = tmp_path / "new" / f"{name}.jsonl"
        words = ["rewards", "try", "--term", verifier, "--data", str(tmp_path / name), "--out", str(out)]
        result = CliRunner().invoke(app, words)
        said[name] = result.output
        if result.exit_code == 0:
            scores[name] = [json.loads(line)["score"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert scores == {"a.csv": [1.0, 0.0], "a.json": [1.0, None], "a.jsonl.gz": [1.0]}
    assert "1 row has no score, see the reason (the reference cannot be used: it is empty)" in said["a.json"]
    assert "separated by semicolons" in said["b.csv"]
    assert "no rows in" in said["b.json"]
