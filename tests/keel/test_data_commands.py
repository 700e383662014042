from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from keel.commands.data import app
from reward_models.data import prepare
from reward_models.data.check import check
from reward_models.data.sources import load
from reward_models.data.splits import prompt_key

PAIRS = [
    {"prompt": "one two", "chosen": "a longer answer", "rejected": "short"},
    {"prompt": "one two", "chosen": "a longer answer", "rejected": "short"},
    {"prompt": "One, two!", "chosen": "short", "rejected": "a longer answer"},
    {"prompt": "three", "chosen": "yes", "rejected": "no!"},
    {"prompt": "three", "chosen": "no!", "rejected": "yes"},
    {"prompt": "four", "chosen": "x", "rejected": "y", "margin": 0},
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_check_counts(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", PAIRS)
    held_out = write(tmp_path / "eval.jsonl", [{"prompt": "THREE", "domain": "helpfulness"}])
    first, second = check([train], [held_out])
    assert (first.rows, first.record_types, first.bad) == (6, {"comparison": 6}, [])
    assert (first.prompts, first.duplicates, first.conflicts) == (3, 1, 1)
    assert sum(first.labels.values()) == 6
    assert first.labels["tie"] == 1
    assert first.chosen_longer == pytest.approx((1 + 1 + 0 + 0.5 + 0.5) / 5)
    assert first.length_gap == pytest.approx((10 + 10 - 10 + 0 + 0) / 5)
    assert first.unit == "words"
    assert first.prompt_lengths is not None
    assert (first.prompt_lengths.mean, first.prompt_lengths.max) == (pytest.approx(1.5), 2)
    assert first.response_lengths is not None
    assert first.response_lengths.max == 3
    assert (first.shared_prompts, second.shared_prompts) == ({held_out: 1}, {train: 1})
    assert (first.evaluation, second.evaluation) == (False, True)
    assert (second.response_lengths, second.chosen_longer, second.length_gap) == (None, None, None)
    assert second.labels == {"helpfulness": 1}


class Characters:
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [0] * len(text)


def test_check_counts_tokens_with_a_tokenizer(tmp_path: Path) -> None:
    (report,) = check([write(tmp_path / "a.jsonl", PAIRS[:1])], tokenizer=Characters())
    assert report.unit == "tokens"
    assert report.prompt_lengths is not None
    assert report.prompt_lengths.mean == 7
    assert report.response_lengths is not None
    assert report.response_lengths.p50 == (15 + 5) / 2


def test_check_exits_by_the_number_of_bad_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*PAIRS, {"prompt": "secret", "chosen": "x"}])
    result = run("check", path)
    assert result.exit_code == 1
    assert f"{path}:7: key 'rejected' is missing" in result.output
    assert "1 bad rows, 0 allowed" in result.output
    assert run("check", path, "--max-bad", 1).exit_code == 0
    assert run("check", path, "--limit", 6).exit_code == 0


def test_check_lists_every_bad_row_and_writes_them_aside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "secret", "chosen": "x"}] * 30)
    aside, report = tmp_path / "bad.jsonl", tmp_path / "report.json"
    result = run("check", path, "--bad-rows", aside, "--json", report)
    assert result.exit_code == 1
    assert result.output.count(f"{path}:") == 1  # all for the same reason, which is printed once
    assert f"{path}:1: " in result.output
    assert "(30 rows, this is the first)" in result.output
    assert "secret" not in result.output
    rows = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [row["line"] for row in rows] == list(range(1, 31))
    assert rows[0]["row"] == {"prompt": "secret", "chosen": "x"}
    (content,) = json.loads(report.read_text())
    assert (content["rows"], len(content["bad"]), content["prompt_lengths"]) == (30, 30, None)
    assert "secret" not in report.read_text()


def test_check_of_half_a_gzip_file_lists_what_broke(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    content = "".join(json.dumps(row) + "\n" for row in PAIRS).encode()
    path.write_bytes(gzip.compress(content)[:-8])
    result = run("check", path)
    assert result.exit_code == 1
    assert "gzip stream breaks off after line 6" in result.output


def test_check_takes_type_and_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "good": "b", "bad": "c"}])
    columns = ("--column", "chosen=good", "--column", "rejected=bad")
    assert run("check", path, *columns).exit_code == 0
    assert run("check", path).exit_code == 1
    assert run("check", path, "--domain", "safety").exit_code == 0
    assert run("check", path, *columns, "--type", "safety").exit_code == 1
    assert run("check", path, "--column", "chosen").exit_code == 2
    assert run("check", path, "--column", "chozen=good").exit_code == 2


def test_what_cannot_be_read_at_all_exits_with_2(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", PAIRS)
    result = run("check", tmp_path / "trian.jsonl")
    assert result.exit_code == 2
    assert "nearest in" in result.output
    assert run("prepare", tmp_path / "trian.jsonl", "--out", tmp_path / "out").exit_code == 2
    assert run("check", tmp_path / "train.jsonl", "--tokenizer", tmp_path / "none").exit_code == 2


@pytest.mark.parametrize("command", [(), ("check",), ("prepare",)])
def test_help(command: tuple[str, ...]) -> None:
    assert run(*command, "--help").exit_code == 0


def test_prepare_accounts_for_every_row(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}", "chosen": f"good {n}", "rejected": f"bad {n}", "margin": 2} for n in range(200)]
    train = write(tmp_path / "train.jsonl", [*rows, *PAIRS, {"prompt": "broken"}])
    held_out = write(tmp_path / "held.jsonl", [{"prompt": f"Question {n}!", "domain": "safety"} for n in range(20)])
    out = tmp_path / "out"
    arguments = ("prepare", train, "--out", out, "--eval-fraction", 0.2, "--against", held_out, "--type", "comparison")
    assert run(*arguments).exit_code == 1
    assert not out.exists()
    result = run(*arguments, "--max-bad", 1)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["read"] == 207
    assert report["contaminated"] == {"same prompt": 20}
    assert (report["duplicates"], report["contradictions"], report["conflicts"], len(report["bad"])) == (1, 2, 1, 1)
    assert sum(report["written"].values()) == 207 - 20 - 1 - 2 - 1
    files = {name: load(str(out / f"{name}.jsonl"), "comparison").records for name in ("train", "eval")}
    assert {name: len(records) for name, records in files.items()} == report["written"]
    prompts = {name: {prompt_key(record.prompt) for record in records} for name, records in files.items()}
    assert not prompts["train"] & prompts["eval"]
    assert 15 < len(files["eval"]) < 60
    assert files["train"][0].strength == 2
    assert files["train"][0].source == "train"
    assert run(*arguments, "--max-bad", 1).exit_code == 2  # nothing is overwritten


def test_prepare_refuses_a_mixture_of_record_types(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*PAIRS, {"prompt": "a", "response": "b", "label": "safe"}])
    result = run("prepare", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "Comparison and SafetyLabel" in result.output


def test_prepare_can_keep_conflicts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", PAIRS)
    for policy, count in (("drop", 3), ("keep", 5), ("first", 4)):
        out = tmp_path / policy
        assert run("prepare", path, "--out", out, "--conflicts", policy, "--eval-fraction", 0).exit_code == 0
        assert len(load(str(out / "train.jsonl"), "comparison").records) == count


def test_length_bias_of_the_kit_is_what_its_description_says(keel_data: Path) -> None:
    stated = {"hh_helpful_base": 0.60, "oasst_ranked_trees": 0.72, "rm_bench_chat": 0.18, "truthfulqa": 0.53}
    for report in check([str(keel_data / "helpful" / f"{name}.test.jsonl.gz") for name in stated]):
        name = Path(report.file).name.split(".")[0]
        assert report.chosen_longer == pytest.approx(stated[name], abs=0.0051)
        assert (report.bad, report.duplicates, report.conflicts) == ([], 0, 0)


def test_tokens_of_the_kit_with_its_tokenizer(keel_data: Path) -> None:
    path = keel_data / "helpful" / "truthfulqa.test.jsonl.gz"
    result = run("check", path, "--tokenizer", keel_data / "tokenizer" / "gpt2", "--limit", 20)
    assert result.exit_code == 0, result.output
    assert "lengths in tokens" in result.output


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", ""), ("b.jsonl", "\n \n"), ("c.csv", "prompt,chosen,rejected\n"), ("d.json", "[]")],
)
def test_a_file_without_rows_is_an_error(name: str, content: str, tmp_path: Path) -> None:
    full = write(tmp_path / "full.jsonl", PAIRS)
    empty = tmp_path / name
    empty.write_text(content)
    for words in (
        ["check", empty],
        ["check", full, "--eval", empty],
        ["prepare", full, empty, "--out", tmp_path / "o"],
    ):
        result = run(*words)
        assert result.exit_code == 2
        assert f"no rows in {empty}" in result.output


def test_outputs_are_never_inputs(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", PAIRS)
    before = Path(train).read_bytes()
    for words in (["check", train, "--json", train], ["check", train, "--bad-rows", train]):
        assert "is one of the inputs" in run(*words).output
    result = run("prepare", train, "--out", tmp_path, "--max-bad", 0)
    assert result.exit_code == 2
    assert "is one of the inputs" in result.output
    assert Path(train).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"Prompt, chosen\nx,y\nx,z\n", "'Prompt' is not 'prompt': rename it"),
        ("b.csv", b"prompt;chosen;rejected\nx;y;z\nx;y;w\n", "the cells are separated by semicolons"),
        ("c.csv", "prompt,chosen\n".encode("utf-16"), "the file is UTF-16; save it again as UTF-8"),
        ("d.jsonl", b'{"x": 1}\n{"x": 2}\n', "--column OURS=THEIRS"),
    ],
)
def test_columns_that_fit_nothing_are_named_once(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    result = run("check", tmp_path / name)
    assert result.exit_code == 1
    assert result.output.count(message) == 1
    assert ("(2 rows, this is the first)" in result.output) == (name not in ("b.csv", "c.csv"))


def test_a_directory_without_data_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path} is a directory, and it could not be read" in run("check", tmp_path).output


# --- demonstrations ---------------------------------------------------------------------------------------------------

TURNS = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "<think>a</think>b c"}]
DEMONSTRATIONS: list[dict[str, Any]] = [
    {"messages": TURNS},
    {"messages": TURNS},  # a copy
    {"prompt": "one two", "response": "another"},  # of the same prompt: no contradiction
    {"question": "three?", "answer": "1 and 2.\n#### 3"},
    {"prompt": "no reply"},
    {"prompt": "two", "chosen": "a", "rejected": "b"},
]


def test_demonstrations_are_checked_as_fine_tuning_reads_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", DEMONSTRATIONS)
    (report,) = check([path], record_type="demonstration")
    assert report.record_types == {"demonstration": 4}
    assert report.labels == {"with thoughts": 3, "without thoughts": 1}
    assert (report.prompts, report.duplicates, report.conflicts) == (2, 1, 0)
    assert [row.line for row in report.bad] == [5, 6]
    result = run("check", path, "--type", "demonstration", "--show", "1")
    assert result.exit_code == 1
    assert "assistant: <think>a</think>b c" in result.output
    assert f"{path}:6: a comparison is no demonstration" in result.output
    assert (
        "--type comparison|safety|prompt|demonstration" in run("check", write(tmp_path / "b.jsonl", [{"x": 1}])).output
    )


def test_demonstrations_are_prepared_and_read_back(tmp_path: Path) -> None:
    path, out = write(tmp_path / "a.jsonl", DEMONSTRATIONS[:4]), tmp_path / "out"
    result = run("prepare", path, "--type", "demonstration", "--out", out, "--eval-fraction", 0)
    assert result.exit_code == 0, result.output
    assert "read 4 rows: 0 bad, 1 duplicates, 0 contradictions" in result.output
    before, after = (load([file], "demonstration").records for file in (path, str(out / "train.jsonl")))
    assert [(r.prompt, r.response, r.id) for r in after] == [
        (r.prompt, r.response, r.id) for r in before[:1] + before[2:]
    ]
    assert after[2].response[0].content == "<think>1 and 2.</think><answer>3</answer>"


def test_judge_prompts_of_pairs(tmp_path: Path) -> None:
    tie = {"prompt": "x", "response_a": "y", "response_b": "z", "label": "tie"}
    data, ties = write(tmp_path / "pairs.jsonl", [PAIRS[0]]), write(tmp_path / "ties.jsonl", [tie])
    out = tmp_path / "new" / "prompts.jsonl"
    result = run("judge-prompts", data, ties, "--out", out)
    assert result.exit_code == 0, result.output
    assert "wrote 2 prompts of 1 pairs" in result.output
    assert "left out: 1 ties" in result.output
    records = load(str(out), "prompt").records
    assert sorted(str(each.answer) for each in records) == ["A", "B"]
    assert {(each.domain, each.columns["verifier"]) for each in records} == {("reasoning", "choice")}
    result = run("judge-prompts", ties, "--out", out)
    assert result.exit_code == 1
    assert "no pair of 1 makes a prompt: 1 ties" in result.output
    assert run("judge-prompts", data, "--out", data).exit_code != 0


def test_a_kill_leaves_no_training_data_without_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = write(tmp_path / "a.jsonl", PAIRS), tmp_path / "out"
    written: list[Path] = []

    def killed(rows: Any, file: Path) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(file)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_jsonl", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare([path], out, eval_fraction=0.5)
    assert run("prepare", path, "--out", out, "--eval-fraction", 0.5).exit_code == 0  # begins anew
    with pytest.raises(FileExistsError, match="prepared data already"):
        prepare.prepare([path], out)
