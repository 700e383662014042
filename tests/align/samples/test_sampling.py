"""Samples in a file: seeds, kills, ranks, servers, scores, and what is refused before the model is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import training_runs
from stand_in_vllm import StandIn, stand_in

from align.samples import sampling
from align.samples.config import SampleConfig
from align.samples.manifest import manifest_of
from align.samples.sampling import Sampled, sample
from align.samples.yields import Yield
from reward_models.runtime.config import ConfigError, load_config
from reward_models.runtime.resumable import ResumeError, note_of

WORDS = ("prompts.train=['synthetic:reasoning:train']", "prompts.limit=10", "samples=3", "max_new_tokens=12")

SHORT = {"token_ids": [3], "logprobs": {"tokens": ["token_id:3"], "token_logprobs": [-0.3]}}


def run(policy: Path, out: Path, *words: str) -> Sampled:
    return sample(load_config(SampleConfig, None, [f"model.path={policy}", f"out={out}", *WORDS, *words]))


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples of one call."""
    out = tmp_path_factory.mktemp("samples") / "whole.jsonl"
    assert run(policy, out).rows == 30
    return out


def test_a_row_holds_the_prompt_the_response_and_its_scores(whole: Path) -> None:
    found = rows(whole)
    assert [row["sample"] for row in found] == [0, 1, 2] * 10
    assert len({row["id"] for row in found}) == 10
    first = found[0]
    assert first["prompt"][0]["role"] == "user"
    assert first["domain"] == "reasoning"
    assert first["scores"] == {"accuracy_math": first["correct"]}
    assert first["reward"] == first["correct"]
    assert first["tokens"] <= 12
    assert first["finished"] in (True, False)


def test_the_manifest_says_how_the_samples_were_made(policy: Path, whole: Path) -> None:
    manifest = json.loads(manifest_of(whole).read_text())
    assert manifest["rows"] == 30
    assert (manifest["config"]["temperature"], manifest["config"]["top_p"]) == (0.6, 0.95)
    assert manifest["config"]["seed"] == 0
    assert manifest["config"]["rewards"][0]["term"] == "accuracy"
    assert manifest["model"]["path"] == str(policy)
    assert manifest["prompts"]["count"] == 10
    total = manifest["yield"]["all"]
    found = rows(whole)
    assert (total["prompts"], total["responses"], total["judged"]) == (10, 30, 30)
    assert total["tokens"] == sum(row["tokens"] for row in found)
    assert total["correct"] == sum(row["correct"] for row in found) / 30
    assert total["truncated"] == sum(not row["finished"] for row in found) / 30


@pytest.mark.parametrize("chunk", [3, 7, 300])
def test_samples_do_not_depend_on_the_chunk(chunk: int, policy: Path, whole: Path, tmp_path: Path) -> None:
    run(policy, tmp_path / "a.jsonl", f"chunk={chunk}", "max_rows=5")
    assert (tmp_path / "a.jsonl").read_bytes() == whole.read_bytes()


def test_more_samples_begin_with_the_same_ones(policy: Path, whole: Path, tmp_path: Path) -> None:
    run(policy, tmp_path / "a.jsonl", "samples=5")
    kept = [row for row in rows(tmp_path / "a.jsonl") if row["sample"] < 3]
    assert kept == rows(whole)


def test_a_killed_run_goes_on_to_the_same_rows(policy: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    words = (f"model.path={policy}", *WORDS, "chunk=3")
    start = partial(training_runs.start, out, *words, settings=(), program="align.sample", key="out")
    first = start()
    first.wait_for(lambda: out.is_file() and out.read_bytes().count(b"\n") >= 3)
    first.kill()
    assert not manifest_of(out).exists() or out.read_bytes() == whole.read_bytes()
    with out.open("ab") as file:
        file.write(b'{"id": "cut in the mid')
    start().finish()
    assert out.read_bytes() == whole.read_bytes()
    manifest = json.loads(manifest_of(out).read_text())
    assert manifest["yield"] == json.loads(manifest_of(whole).read_text())["yield"]
    assert run(policy, out, "chunk=3") == Sampled(30, 30, True, manifest["yield"])


def test_two_ranks_equal_one(policy: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    words = (f"model.path={policy}", *WORDS, "chunk=6")
    training_runs.start(out, *words, ranks=2, settings=(), program="align.sample", key="out").finish()
    assert out.read_bytes() == whole.read_bytes()


def test_another_job_does_not_continue_a_file(policy: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    run(policy, out)
    with pytest.raises(ResumeError, match=r"samples of another job \(config differ\).*--overwrite"):
        run(policy, out, "seed=1")
    with pytest.raises(ResumeError, match="prompts differ"):
        run(policy, out, "prompts.train=['synthetic:additions:train']", "prompts.columns={}", "seed=0")
    assert run(policy, out, "seed=1", "overwrite=true").resumed == 0
    assert out.read_bytes() != whole.read_bytes()


def test_general_prompts_are_scored_by_a_reward_model(policy: Path, models: dict[str, Path], tmp_path: Path) -> None:
    terms = f"rewards=[{{term: helpful, arguments: {{model: '{models['helpful']}', value: raw}}}}]"
    run(policy, tmp_path / "a.jsonl", "prompts.train=['synthetic:helpful:train']", "prompts.domain=helpfulness", terms)
    first = rows(tmp_path / "a.jsonl")[0]
    assert first["correct"] is None
    assert first["scores"]["helpful"] == first["reward"]
    assert isinstance(first["reward"], float)


def test_prompts_without_answers_are_sampled_without_scores(policy: Path, tmp_path: Path) -> None:
    run(policy, tmp_path / "a.jsonl", "prompts.train=['synthetic:helpful:train']", "prompts.domain=helpfulness")
    first = rows(tmp_path / "a.jsonl")[0]
    assert (first["correct"], first["scores"], first["reward"]) == (None, {}, None)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("model.path=null",), "model.path is empty"),
        (("prompts.train=[]",), "prompts.train is empty"),
        (("max_new_tokens=4000",), "more than the 256 positions"),
        (("rewards=[{term: helpful, arguments: {model: runs/none}}]",), "runs/none"),
        (("rewards=[{term: language}]", "prompts.columns={language: id}"), "language"),
        (("prompts.domain=helpfulness", "rewards=[{term: format}, {term: accuracy}]"), "applies to none"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_is_loaded(
    words: tuple[str, ...], reason: str, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "build_policy", lambda *_: pytest.fail("the model was loaded"))
    if "domain" in words[0]:
        words = (*words, "prompts.train=['synthetic:helpful:train']")
    with pytest.raises(Exception, match=reason):
        run(policy, tmp_path / "a.jsonl", *words)
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("samples=0", "at least 1"),
        ("temperature=-1", "must not be negative"),
        ("top_p=0", "top_p"),
        ("servers=['10.0.0.1:8000']", "must begin with http"),
        ("temperature=0", "would all be the same"),
        ("out=samples.csv", "samples.jsonl"),
        ("rewards=[{term: acuracy}]", "no term 'acuracy'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(word: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(SampleConfig, None, [word])


def test_a_yield_is_counted_by_hand() -> None:
    def row(domain: str, correct: float | None, tokens: int, finished: bool, **scores: float | None) -> dict[str, Any]:
        return {"domain": domain, "correct": correct, "tokens": tokens, "finished": finished, "scores": scores}

    found = Yield()
    found.add([[row("reasoning", 1.0, 10, True), row("reasoning", 0.0, 20, False)]])
    again = Yield(json.loads(json.dumps(found.to_facts())))
    again.add([[row("reasoning", 0.0, 30, True), row("reasoning", None, 40, True)]])
    again.add([[row("safety", None, 5, True, safety=2.0), row("safety", None, 5, True, safety=None)]])
    figures = again.figures()
    assert figures["reasoning"]["correct"] == 1 / 3
    assert figures["reasoning"]["prompts_solved"] == 1 / 2
    assert figures["reasoning"]["truncated"] == 1 / 4
    assert figures["safety"]["correct"] is None
    assert figures["safety"]["scores"] == {"safety": 2.0}
    assert figures["all"]["tokens_mean"] == 110 / 6
    assert figures["all"]["responses"] == 6


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as state:
        yield state


def test_servers_share_the_prompts_and_need_no_model_here(
    server: StandIn, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sampling, "build_policy", lambda *_: pytest.fail("the model was loaded"))
    with stand_in() as other:
        run(policy, tmp_path / "a.jsonl", f"servers=['{server.url}', '{other.url}/']")
        assert len(server.payloads) == len(other.payloads) == 5
    assert {payload["temperature"] for payload in server.payloads} == {0.6}
    assert {payload["top_p"] for payload in server.payloads} == {0.95}
    assert {payload["n"] for payload in server.payloads} == {3}
    run(policy, tmp_path / "b.jsonl", f"servers=['{server.url}']")  # the stand-in is a function of prompt and seed
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert "serves runs/policy" in capfd.readouterr().err
    manifest = json.loads(manifest_of(tmp_path / "a.jsonl").read_text())
    assert [each["root"] for each in manifest["servers"]] == ["runs/policy"] * 2


def test_a_server_that_fails_hands_over_to_another(server: StandIn, policy: Path, tmp_path: Path) -> None:
    with stand_in() as other:
        other.spoil = lambda answer: {"error": {"message": "out of memory", "code": 500}}
        run(policy, tmp_path / "a.jsonl", f"servers=['{server.url}', '{other.url}']")
    assert len(rows(tmp_path / "a.jsonl")) == 30


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda answer: {"choices": answer["choices"][:2]}, "2 responses instead of 3"),
        (lambda answer: {"choices": [c | {"prompt_token_ids": [1]} for c in answer["choices"]]}, "another prompt"),
        (lambda answer: {"choices": [c | {"token_ids": [99999] * 12} for c in answer["choices"]]}, "vocabulary"),
        (lambda answer: {"choices": [c | SHORT for c in answer["choices"]]}, "cuts responses short"),
        (lambda answer: {"choices": [c | {"token_ids": None} for c in answer["choices"]]}, "TypeError"),
        (lambda answer: {"error": {"message": "no", "code": 400}}, "no server answers a request.*400"),
    ],
)
def test_a_wrong_answer_of_a_server_is_an_error(
    spoil: Any, reason: str, server: StandIn, policy: Path, tmp_path: Path
) -> None:
    server.spoil = spoil
    with pytest.raises(OSError, match=reason):
        run(policy, tmp_path / "a.jsonl", f"servers=['{server.url}']")


def test_servers_of_different_models_are_refused(server: StandIn, policy: Path, tmp_path: Path) -> None:
    with stand_in() as other:
        other.root = "runs/other"
        with pytest.raises(OSError, match=r"runs/other.*runs/policy"):
            run(policy, tmp_path / "a.jsonl", f"servers=['{server.url}', '{other.url}']")
    with pytest.raises(OSError, match="not up after"):
        run(policy, tmp_path / "a.jsonl", f"servers=['{other.url}']", "start_seconds=0.1")


def test_samples_that_an_earlier_version_began_go_on(policy: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    assert run(policy, out, "prompts.limit=4").rows == 12
    note = note_of(out)
    content = json.loads(note.read_text())
    for key in ("top_k", "chunk"):  # one that samples depend on, and one that they do not
        content["config"].pop(key, None)
    del content["config"]["prompts"]["decontaminate"]
    note.write_text(json.dumps(content))
    assert run(policy, out, "prompts.limit=4").resumed == 12
    note.write_text(json.dumps(content))
    with pytest.raises(ResumeError, match="config differ"):
        run(policy, out, "prompts.limit=4", "top_k=5")
