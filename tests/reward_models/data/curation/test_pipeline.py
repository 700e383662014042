from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import threading
from pathlib import Path
from typing import Any

import preloaded
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in_judge import StandInJudge, annotated_rows, mean_vote, voted_gap
from typer.testing import CliRunner, Result

from keel.cli import app
from reward_models.data.curation.judging import Judgement
from reward_models.data.curation.selection import Agreement, CurationConfig, Judged, select
from reward_models.data.records import Comparison, Message, Pair
from reward_models.data.sources import load
from reward_models.data.splits import content_key, prompt_key

ROOT = Path(__file__).parents[4]
Row = dict[str, Any]


def gap(one: str, other: str) -> float:
    """Texts say in their last word how good they are."""
    return float(one.split()[-1]) - float(other.split()[-1])


def rows(n: int) -> list[Row]:
    """Pairs of equal length whose response a is better by −2 … 2."""
    return [
        {"id": str(i), "prompt": f"question {i}", "response_a": f"a {i} {i % 5}", "response_b": f"b {i} 2"}
        for i in range(n)
    ]


def write(path: Path, content: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def words(data: Path, out: Path, judge: str, *more: object) -> list[str]:
    endpoint = ("--judge-model", "stand-in") if judge.startswith("http") else ()
    return [str(word) for word in ("data", "curate", data, "--out", out, "--judge", judge, *endpoint, *more)]


def run(data: Path, out: Path, judge: str, *more: object, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, words(data, out, judge, *more), env={"COLUMNS": "400"})
    assert result.exit_code == exit_code, result.output
    return result


def report_of(out: Path) -> dict[str, Any]:
    report = json.loads((out / "report.json").read_text())
    accounted = [
        len(report["bad"]),
        report["duplicates"],
        *report["contaminated"].values(),
        report["identical"],
        *report["fates"].values(),
    ]
    assert report["read"] == sum(accounted)
    assert report["fates"].get("kept", 0) == sum(report["written"].values())
    return report


def judged_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "judgements.jsonl").read_text().splitlines()]


# --- selection ------------------------------------------------------------------------------------------------------


def judged(n: int, delta: float | None, a: str = "one", b: str = "two", label: Any = None) -> Judged:
    pair = Pair(
        prompt=(Message("user", f"question {n}"),),
        response_a=(Message("assistant", a),),
        response_b=(Message("assistant", b),),
        label=label,
    )
    one = Judgement(draw=0, a_first=True, **({"problem": "failed"} if delta is None else {"score": delta}))
    return Judged(pair=pair, judgements=(one,), delta=delta)


def test_a_pair_is_kept_above_the_threshold_only() -> None:
    items = [judged(i, delta) for i, delta in enumerate([1.0, -1.0, 1.25, -1.25, 0.0, None])]
    fates = select(items, CurationConfig(balance_lengths=False))
    assert fates == ["undecided", "undecided", "kept", "kept", "undecided", "too few judgements"]
    # A threshold of 0 keeps whatever leans one way; no verdict leans no way.
    fates = select(items, CurationConfig(threshold=0, balance_lengths=False))
    assert fates == [*["kept"] * 4, "undecided", "too few judgements"]


def test_label_and_strength_come_from_delta() -> None:
    for delta, label in ((1.5, "a"), (-1.25, "b")):
        comparison = judged(0, delta, label="tie").comparison()
        assert (comparison.label, comparison.strength) == (label, abs(delta))
        assert judged(0, delta, a="longer").lengths("full") == ((6, 3) if label == "a" else (3, 6))


def test_the_most_decided_survive_the_balance() -> None:
    longer = [judged(i, delta, a="12345", b="123") for i, delta in enumerate([1.25, 2.0, 1.5])]
    shorter = [judged(3, -1.25, a="12345", b="123")]
    assert select(longer + shorter, CurationConfig()) == ["length balance", "kept", "length balance", "kept"]


@given(st.permutations(range(24)))
def test_what_is_kept_does_not_depend_on_the_order(order: list[int]) -> None:
    deltas = [2.0, -2.0, 1.5, 1.25, 1.0, None]
    items = [judged(i, deltas[i % 6], a="x" * (1 + i % 4), b="y" * (1 + i % 3)) for i in range(24)]
    plain = dict(zip((content_key(item.pair) for item in items), select(items, CurationConfig()), strict=True))
    shuffled = [items[i] for i in order]
    fates = select(shuffled, CurationConfig())
    assert dict(zip((content_key(item.pair) for item in shuffled), fates, strict=True)) == plain
    assert "length balance" in fates


def test_agreement_by_hand() -> None:
    items = [judged(0, 2, label="a"), judged(1, -1, label="a"), judged(2, 0, label="b"), judged(3, None, label="b")]
    items += [judged(4, 2, label="tie"), judged(5, 2)]
    agreement = Agreement.of(items, select(items, CurationConfig(balance_lengths=False)))
    assert agreement == Agreement(labelled=4, average=0.5, first_judgement=0.5, kept=1.0)
    assert Agreement.of(items[4:], ["kept", "kept"]) == Agreement(
        labelled=0, average=None, first_judgement=None, kept=None
    )


@pytest.mark.parametrize(
    "settings", [{"judgements": 0}, {"threshold": 2}, {"threshold": -1}, {"min_valid": 5}, {"min_valid": 0}]
)
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"judgements|threshold"):
        CurationConfig(**settings)


def test_all_but_one_must_be_valid_unless_said_otherwise() -> None:
    needed = [CurationConfig(judgements=n).valid_needed for n in (1, 2, 4)]
    assert needed == [1, 1, 3]
    assert CurationConfig(min_valid=2).valid_needed == 2


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_files_say_what_the_judge_said(tmp_path: Path) -> None:
    data, out = write(tmp_path / "pairs.jsonl", rows(25)), tmp_path / "out"
    with StandInJudge(gap) as stand_in:
        result = run(data, out, stand_in.url, "eval_fraction=0.3")
    assert "25 pairs, 100 judgements: 100 to ask for, 0 already answered" in result.output
    report = report_of(out)
    assert report["judgements"] == {"asked": 100, "valid": 100}
    assert report["verdicts"] == {"A=B": 20, "A>>B": 20, "A>B": 20, "B>>A": 20, "B>A": 20}
    assert report["position_bias"] == 0
    assert report["fates"] == {"kept": 10, "undecided": 15}
    assert report["settings"]["judge"] == {"model": "stand-in", "temperature": 1.0, "max_tokens": 4096}
    parts = {name: load(str(out / f"{name}.jsonl"), "comparison").records for name in ("train", "eval")}
    assert {name: len(part) for name, part in parts.items()} == report["written"]
    assert 0 < len(parts["eval"]) < 8
    for record in parts["train"] + parts["eval"]:
        assert isinstance(record, Comparison)
        assert (record.label, record.strength) == ("b" if int(record.id) % 5 == 0 else "a", 2.0)
    assert not {prompt_key(r.prompt) for r in parts["train"]} & {prompt_key(r.prompt) for r in parts["eval"]}
    for line in judged_of(out):
        assert line["delta"] == int(line["id"]) % 5 - 2
        assert sorted(j["first"] for j in line["judgements"]) == ["a", "a", "b", "b"]
        for j in line["judgements"]:
            assert j["score"] == line["delta"]
            letters = "AB" if j["first"] == "a" else "BA"
            better = letters[0] if line["delta"] > 0 else letters[1]
            assert j["verdict"] == "A=B" if not line["delta"] else j["verdict"].startswith(better)


def test_copies_the_evaluation_and_identical_responses_are_not_paid_for(tmp_path: Path) -> None:
    content = rows(10)
    swapped = content[3] | {"response_a": content[3]["response_b"], "response_b": content[3]["response_a"]}
    alike = {"id": "x", "prompt": "alike?", "response_a": "<think>1</think>yes", "response_b": "yes"}
    data = write(tmp_path / "pairs.jsonl", [*content, content[0], swapped, alike, {"id": "bad"}])
    held_out = write(tmp_path / "held.jsonl", [{"prompt": "Question 7!", "domain": "safety"}])
    out = tmp_path / "out"
    with StandInJudge(gap) as stand_in:
        run(data, out, stand_in.url, "--against", held_out, exit_code=1)  # a bad row, and none allowed
        assert not stand_in.requests
        run(data, out, stand_in.url, "--against", held_out, "--max-bad", 1)
        assert len(stand_in.requests) == 4 * 9
    report = report_of(out)
    assert (report["read"], report["duplicates"], report["identical"]) == (14, 2, 1)
    assert report["contaminated"] == {"same prompt": 1}


def test_dry_run_asks_and_writes_nothing(tmp_path: Path) -> None:
    data, out = write(tmp_path / "pairs.jsonl", rows(5)), tmp_path / "out"
    with StandInJudge(gap) as stand_in:
        result = run(data, out, stand_in.url, "--dry-run")
        assert "20 to ask for, 0 already answered" in result.output
        assert not stand_in.requests
        assert not out.exists()
        run(data, out, stand_in.url, "--limit", 2)
        result = run(data, tmp_path / "other", stand_in.url, "--dry-run", "--answers", out / "answers.jsonl")
        assert "12 to ask for, 8 already answered" in result.output
    result = run(data, out / "new", stand_in.url, "--dry-run", exit_code=2)
    assert "cannot reach the judge" in result.output
    assert not (out / "new").exists()


def test_the_same_command_again_costs_nothing_and_other_settings_need_another_directory(tmp_path: Path) -> None:
    data, out = write(tmp_path / "pairs.jsonl", rows(20)), tmp_path / "out"
    with StandInJudge(gap) as stand_in:
        run(data, out, stand_in.url)
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert files.keys() == {"train.jsonl", "eval.jsonl", "judgements.jsonl", "report.json", "answers.jsonl"}
    run(data, out, stand_in.url)  # the endpoint is gone, and not missed
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files
    result = run(data, out, stand_in.url, "threshold=0.5", exit_code=2)
    assert "another setting of threshold" in result.output
    run(data, tmp_path / "lower", stand_in.url, "threshold=0.5", "--answers", out / "answers.jsonl")
    assert report_of(tmp_path / "lower")["fates"] == {"kept": 16, "undecided": 4}
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "train.jsonl").touch()
    result = run(data, prepared, stand_in.url, exit_code=2)
    assert "holds prepared data already" in result.output


def test_pairs_with_too_few_verdicts_are_counted_and_not_taken_for_ties(tmp_path: Path) -> None:
    data, out = write(tmp_path / "pairs.jsonl", rows(40)), tmp_path / "out"
    with StandInJudge(gap, faults=0.3, ways=("no verdict",)) as stand_in:
        run(data, out, stand_in.url, "min_valid=3")
    report = report_of(out)
    missing = report["judgements"]["no verdict"]
    assert report["judgements"] == {"asked": 160, "no verdict": missing, "valid": 160 - missing}
    assert 25 < missing < 75
    for line in judged_of(out):
        valid = sum(j["score"] is not None for j in line["judgements"])
        assert (line["delta"] is None) == (valid < 3) == (line["fate"] == "too few judgements")
        assert line["delta"] in (None, int(line["id"]) % 5 - 2)
    assert 0 < report["fates"]["too few judgements"] < 40


def test_a_judge_that_breaks_down_leaves_no_data_behind(tmp_path: Path) -> None:
    data, out = write(tmp_path / "pairs.jsonl", rows(6)), tmp_path / "out"
    with StandInJudge(gap, faults=1.0, ways=("500",)) as stand_in:
        result = run(data, out, stand_in.url, "endpoint.tries=1", "judgements=4", exit_code=2)
    assert "20 questions in a row failed" in result.output
    assert not (out / "train.jsonl").exists()


def test_one_judgement_is_taken_with_a_warning(tmp_path: Path) -> None:
    data = write(tmp_path / "pairs.jsonl", rows(6))
    with StandInJudge(gap, bias=4.0) as stand_in:
        result = run(data, tmp_path / "out", stand_in.url, "judgements=1")
    assert "one judgement per pair shows one order only" in result.output
    lines = judged_of(tmp_path / "out")
    assert all(line["delta"] == (2 if line["judgements"][0]["first"] == "a" else -2) for line in lines)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("threshold=2",), "threshold"),
        (("min_valid=9",), "cannot be valid"),
        (("--column", "x"), "OURS=THEIRS"),
    ],
)
def test_bad_options(tmp_path: Path, more: tuple[object, ...], message: str) -> None:
    result = run(write(tmp_path / "a.jsonl", rows(1)), tmp_path / "out", "http://127.0.0.1:9/v1", *more, exit_code=2)
    assert message in result.output


def test_a_judge_that_is_no_judge(tmp_path: Path) -> None:
    data, out = write(tmp_path / "a.jsonl", rows(1)), tmp_path / "out"
    assert "neither an http(s) address nor" in run(data, out, str(tmp_path / "none"), exit_code=2).output
    result = CliRunner().invoke(app, words(data, out, "http://127.0.0.1:9/v1")[:-2])
    assert result.exit_code == 2
    assert "--judge-model" in result.output
    assert "cannot reach the judge" in run(data, out, "http://127.0.0.1:9/v1", exit_code=2).output
    assert not out.exists()


# --- real votes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def votes(keel_data: Path) -> list[Row]:
    """Some annotated pairs, with the majority of the votes as their label."""
    found: list[Row] = []
    for name in ("pandalm_human", "tulu_human"):
        for row in annotated_rows([keel_data / "annotations" / f"{name}.test.jsonl.gz"])[:30]:
            vote = mean_vote(row)
            found.append(row | {"label": "a" if vote > 0 else "b" if vote < 0 else "tie"})
    return found


def test_the_judges_position_bias_is_gone_after_averaging(tmp_path: Path, votes: list[Row]) -> None:
    data, out = write(tmp_path / "votes.jsonl", votes), tmp_path / "out"
    truth = voted_gap(votes)
    with StandInJudge(truth, bias=1.0) as stand_in:
        run(data, out, stand_in.url)
        # The same pairs stored the other way round are the same questions: no call is made, and every Δ turns.
        swapped = [row | {"response_a": row["response_b"], "response_b": row["response_a"]} for row in votes]
        for row in swapped:
            row["label"] = {"a": "b", "b": "a"}.get(row["label"], "tie")
        asked = sum(stand_in.requests.values())
        turned = tmp_path / "turned"
        run(write(tmp_path / "turned.jsonl", swapped), turned, stand_in.url, "--answers", out / "answers.jsonl")
        assert sum(stand_in.requests.values()) == asked
    lines = judged_of(out)
    assert [line["delta"] for line in lines] == [-line["delta"] for line in judged_of(turned)]
    assert report_of(out)["position_bias"] > 0.5

    by_id = {row["id"]: row for row in votes}
    errors: dict[str, list[float]] = {"a": [], "b": [], "average": []}
    for line in lines:
        row = by_id[line["id"]]
        gap = truth(row["response_a"][0]["content"], row["response_b"][0]["content"])
        for judgement in line["judgements"]:
            errors[judgement["first"]].append(judgement["score"] - gap)
        errors["average"].append(line["delta"] - gap)
        if gap == 0:  # where annotators see no difference, one order always finds one
            assert {j["score"] for j in line["judgements"]} == {1, -1}
            assert line["delta"] == 0
    # Judging with response a always first errs for a, with b always first for b, and the average for neither.
    assert statistics.fmean(errors["a"]) > 0.5
    assert statistics.fmean(errors["b"]) < -0.5
    assert abs(statistics.fmean(errors["average"])) < 0.05
    agreement = report_of(out)["agreement"]
    assert agreement["average"] == agreement["kept"] == 1.0
    assert agreement["first_judgement"] < 1.0


class Gated(StandInJudge):
    """Answers so many questions, and the others once the gate is open."""

    def __init__(self, *arguments: Any, answers: int, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.answers, self.gate, self.reached = answers, threading.Event(), threading.Event()

    def _answer(self, *arguments: Any) -> None:
        if sum(self.answered.values()) >= self.answers:
            self.reached.set()
            self.gate.wait(60)
        super()._answer(*arguments)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_run_that_was_stopped_goes_on_without_paying_twice(tmp_path: Path, votes: list[Row], name: str) -> None:
    data, out, concurrency = write(tmp_path / "votes.jsonl", votes[:40]), tmp_path / "out", 4
    settings: dict[str, Any] = {"bias": 1.0, "noise": 0.7, "faults": 0.1, "ways": ("429", "500", "no verdict")}
    more = (f"endpoint.concurrency={concurrency}", "judgements=2")
    with Gated(voted_gap(votes), answers=25, **settings) as stand_in:
        command = [preloaded.python(), "-m", "keel.cli", *words(data, out, stand_in.url, *more)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert stand_in.reached.wait(60)
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate()
        if name == "SIGINT":
            assert process.returncode == 130
            assert "the same command resumes the run" in errors
        else:
            assert process.returncode == -signal.SIGKILL
        assert not (out / "train.jsonl").exists()
        paid = {json.loads(line)["key"] for line in (out / "answers.jsonl").read_text().splitlines()}
        assert 25 - concurrency <= len(paid) <= 25 + concurrency
        stand_in.gate.set()  # what was in flight is answered and paid, and nobody is there to hear it
        before = stand_in.answered.copy()
        run(data, out, stand_in.url, *more)
        # What had arrived is not asked again; what was on its way when the run was killed is lost.
        assert all(stand_in.answered[key] == before[key] for key in paid)
        assert sum(stand_in.answered.values()) - len(stand_in.answered) <= concurrency
    whole = tmp_path / "whole"
    with StandInJudge(voted_gap(votes), **settings) as stand_in:
        run(data, whole, stand_in.url, *more)
    for file in ("train.jsonl", "eval.jsonl", "judgements.jsonl", "report.json"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()


def test_all_faults_at_once_leave_the_same_result(tmp_path: Path, votes: list[Row]) -> None:
    data = write(tmp_path / "votes.jsonl", votes[:12])
    ways = ("429", "500", "garbage", "dropped", "hang")
    for name, faults in (("calm", 0.0), ("stormy", 0.3)):
        with StandInJudge(voted_gap(votes), bias=1.0, noise=0.5, faults=faults, ways=ways, hang=5.0) as stand_in:
            run(data, tmp_path / name, stand_in.url, "endpoint.timeout=1", "judgements=2", "endpoint.tries=12")
    assert (tmp_path / "calm/judgements.jsonl").read_bytes() == (tmp_path / "stormy/judgements.jsonl").read_bytes()


def test_the_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "KEEL_JUDGE_API_KEY", "secret")
    data, out = write(tmp_path / "pairs.jsonl", rows(2)), tmp_path / "out"
    with StandInJudge(gap) as stand_in:
        run(data, out, stand_in.url)
    assert {header["Authorization"] for header in stand_in.headers} == {"Bearer secret"}
    assert not any(b"secret" in path.read_bytes() for path in out.iterdir())
