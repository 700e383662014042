"""Scores depend on the conversation alone, and are those of plain transformers."""

from __future__ import annotations

import json
import math
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from keel.cli import app
from reward_models import RewardModel
from reward_models.backbone.config import ModelConfig
from reward_models.calibration import Calibration
from reward_models.data.chat import ChatRenderer, final_summary, train_tokenizer
from reward_models.data.records import Comparison, Message, RecordError
from reward_models.data.sources import SourceError, load
from reward_models.inference.score_files import score_files
from reward_models.model import build_model, save_model
from reward_models.runtime.resumable import ResumeError

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64},
    "bert": {"max_position_embeddings": 96},
}
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
CALIBRATION = Calibration(n=9, mean=0.25, std=0.5, temperature=2.0)


def records(n: int = 24) -> list[Comparison]:
    return load(["synthetic:helpful:test"], "comparison", limit=n).records


def conversations(n: int = 64) -> list[list[dict[str, str]]]:
    """Prompts with several answers each, short and long, some with reasoning."""
    rng = random.Random(3)
    answers = ["Yes.", "<think>Let me see.</think>\nNo, it is not.", "word " * 40, "I can't say. " * 12]
    result = []
    for record in records(n // 4):
        prompt = [{"role": m.role, "content": m.content} for m in record.prompt]
        for answer in rng.sample(answers, 4):
            result.append([*prompt, {"role": "assistant", "content": f"{answer} {rng.randrange(10**6)}"}])
    return result


@pytest.fixture(scope="module", params=["qwen3", "bert"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, saved as a trained one is."""
    directory = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(1)
    tokenizer = train_tokenizer([m.content for r in records() for m in (*r.prompt, *r.response_a)], 500)
    settings = {"model_type": request.param, **SIZE, **ARCHITECTURES[request.param], "initializer_range": 0.3}
    config = ModelConfig(config=settings)
    scorer = build_model(config, tokenizer, "preference", torch.float32)
    renderer = ChatRenderer(tokenizer, "summary")
    facts = {
        "task": "preference",
        "span": "summary",
        "template_fingerprint": renderer.fingerprint,
        "calibration": CALIBRATION.to_facts(),
    }
    save_model(scorer, scorer.model.state_dict(), directory, tokenizer, facts, None)
    return directory


def plain_scores(directory: Path, turns: list[list[dict[str, str]]], side: str, batch: int) -> list[float]:
    """transformers alone: render, tokenize, pad, run."""
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side=side)
    scores: list[float] = []
    for at in range(0, len(turns), batch):
        cut = [
            [*t[:-1], {"role": "assistant", "content": final_summary(t[-1]["content"])}] for t in turns[at : at + batch]
        ]
        texts = [tokenizer.apply_chat_template(t, tokenize=False) for t in cut]
        inputs = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        if side == "left":  # decoders count positions from the first real token
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad():
            scores += model(**inputs).logits[:, 0].tolist()
    return scores


def readable(model: RewardModel, turns: list[list[dict[str, str]]]) -> list[list[dict[str, str]]]:
    """Those that an architecture with few positions can read whole."""
    limit = model.limit or 10**6
    return [t for t in turns if len(model.renderer.tokenizer.apply_chat_template(t)["input_ids"]) <= limit]


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_scores_are_those_of_plain_transformers(saved: Path, batch: int) -> None:
    model = RewardModel.load(saved)
    turns = readable(model, conversations())
    ours = [score.raw for score in model.score(turns)]
    assert len(turns) > 20
    assert torch.tensor(ours).std() > 0.01
    # BERT reads its score at the first position, so it can be padded on the right only
    for side in ("right", "left") if model.scorer.layout == "tree" else ("right",):
        assert ours == pytest.approx(plain_scores(saved, turns, side, batch), abs=1e-5)


def test_scores_depend_on_neither_budget_nor_order_nor_neighbours(saved: Path) -> None:
    turns = conversations()
    expected = [score.raw for score in RewardModel.load(saved).score(turns)]
    for budget in (1, 100, 1000, 100_000):
        model = RewardModel.load(saved, max_tokens=budget)
        assert [s.raw for s in model.score(turns)] == pytest.approx(expected, abs=1e-5)
    order = random.Random(0).sample(range(len(turns)), len(turns))
    shuffled = model.score([turns[i] for i in order])
    assert [s.raw for s in shuffled] == pytest.approx([expected[i] for i in order], abs=1e-5)
    for size in (1, 2, 3, 16):
        parts = [s.raw for at in range(0, len(turns), size) for s in model.score(turns[at : at + size])]
        assert parts == pytest.approx(expected, abs=1e-5)


def test_records_are_scored_in_their_order(saved: Path) -> None:
    model = RewardModel.load(saved)
    rows = records()
    by_record = model.score_records(rows)
    turns = [[*r.prompt, *reply] for r in rows for reply in (r.response_a, r.response_b)]
    assert [s.raw for pair in by_record for s in pair] == pytest.approx([s.raw for s in model.score(turns)], abs=1e-5)
    assert model.score([]) == []


def test_the_reasoning_is_cut_for_a_model_of_summaries(saved: Path) -> None:
    model = RewardModel.load(saved)
    question = {"role": "user", "content": "What is 2 + 2?"}
    bare, thought, other = (
        model.score([[question, {"role": "assistant", "content": text}]])[0].raw
        for text in ("Four.", "<think>2 + 2 = 4</think>\n\nFour.", "Five.")
    )
    assert thought == pytest.approx(bare, abs=1e-6)
    assert abs(other - bare) > 1e-4


def test_long_conversations_lose_their_oldest_turns_where_positions_end(saved: Path) -> None:
    model = RewardModel.load(saved)
    old = [{"role": "user", "content": "old " * 150}, {"role": "assistant", "content": "yes " * 150}]
    recent = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This one."}]
    whole, without = (model.score([turns])[0].raw for turns in ([*old, *recent], recent))
    if model.limit is None:
        assert model.truncated == 0
        assert abs(whole - without) > 1e-4
    else:
        assert model.limit == 96
        assert model.truncated == 1
        assert whole == pytest.approx(without, abs=1e-6)
        endless = [recent[0], {"role": "assistant", "content": "more " * 400}]
        assert model.score([endless])[0].raw != pytest.approx(without, abs=1e-4)
        assert model.truncated == 2


def test_calibrated_scores(saved: Path) -> None:
    model = RewardModel.load(saved)
    scores = model.score(conversations(8))
    assert [s.calibrated for s in scores] == pytest.approx([(s.raw - 0.25) / 2 for s in scores])
    assert Calibration(temperature=2.0).apply(3.0, "safety") == pytest.approx(0.8175745)
    assert Calibration(temperature=1.0).apply(-1000.0, "safety") == 0
    assert Calibration().apply(3.0, "safety") is None
    assert Calibration(temperature=1.0).apply(3.0, "preference") is None


def test_threads_take_turns(saved: Path) -> None:
    model = RewardModel.load(saved)
    turns = conversations()
    expected = [s.raw for s in model.score(turns)]
    found: dict[int, list[float]] = {}

    def work(number: int) -> None:
        found[number] = [s.raw for _ in range(3) for s in model.score(turns[number::4])]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert found[number] == pytest.approx(expected[number::4] * 3, abs=1e-5)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "conversation 1: it must hold a prompt"),
        ([{"role": "user", "content": "Hm?"}], "conversation 1: it must hold a prompt and end with the assistant"),
        (["Hm?", "Yes."], "conversation 1: .* holds a str that is no"),
        (
            [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": ""}],
            ": empty assistant",
        ),
    ],
)
def test_what_is_no_conversation_is_named(saved: Path, turns: Any, message: str) -> None:
    good = [Message("user", "Hm?"), Message("assistant", "Yes.")]
    with pytest.raises(RecordError, match=message):
        RewardModel.load(saved).score([good, turns])


def test_a_model_that_was_tampered_with_is_refused(saved: Path, tmp_path: Path) -> None:
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="was trained with span 'summary', not 'full'"):
        RewardModel.load(tmp_path, span="full")
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|> "))
    with pytest.raises(ValueError, match="chat template is not the one"):
        RewardModel.load(tmp_path)
    with pytest.raises(ValueError, match="no directory"):
        RewardModel.load(tmp_path / "missing")
    with pytest.raises(ValueError, match="is a file; the directory of a trained reward model is needed"):
        RewardModel.load(template)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="not a finished model"):
        RewardModel.load(tmp_path)


# --- files ----------------------------------------------------------------------------------------------------------

ROWS: list[dict[str, Any]] = [
    {"prompt": "Hm?", "chosen": "Yes.", "rejected": "No."},
    {"prompt": "Hm?", "response_a": "Yes.", "response_b": "No.", "label": "b"},
    {"prompt": "Hm?", "response_a": "Yes.", "response_b": "No.", "label": "tie"},
    {"prompt": "Hm?", "response_a": "Yes.", "response_b": "No."},
    {"prompt": "Hm?", "response": "Yes.", "label": "safe"},
    {"prompt": "Hm?", "response": "Yes."},
    {"messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Yes."}]},
    {"prompt": "Hm?", "completion": ""},
]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def test_every_row_gives_a_line_in_order(saved: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    words = ["score", "--model", str(saved), "--data", str(rows), "--out", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "1 bad rows, 0 allowed" in done.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    model = RewardModel.load(saved)
    yes, no = (
        {"raw": pytest.approx(s.raw, abs=1e-5), "calibrated": pytest.approx(s.calibrated, abs=1e-5)}
        for s in model.score([[Message("user", "Hm?"), Message("assistant", text)] for text in ("Yes.", "No.")])
    )
    assert lines[:7] == [
        {"chosen": yes, "rejected": no},
        {"chosen": no, "rejected": yes},
        {"response_a": yes, "response_b": no},
        {"response_a": yes, "response_b": no},
        *[{"response": yes}] * 3,
    ]
    assert lines[7]["line"] == 8
    assert "completion" in lines[7]["error"]
    assert CliRunner().invoke(app, [*words, "--max-bad", "1"]).exit_code == 0
    missing = CliRunner().invoke(app, [*words[:-1], str(out) + "2", "--data", str(tmp_path / "rows.json")])
    assert missing.exit_code == 2
    assert "nearest in" in missing.output


def test_a_file_left_unfinished_is_gone_on_with(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reward_models.inference.score_files.CHUNK", 5)
    model, data = RewardModel.load(saved), ["synthetic:helpful:test"]
    monkeypatch.setattr("reward_models.inference.score_files.read_responses", _first(23))
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert score_files(model, data, whole).rows == 23
    seen: list[int] = []

    def stop(rows: int) -> None:
        seen.append(rows)
        if sum(seen) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_files(model, data, out, on_rows=stop)
    with out.open("a") as file:
        file.write('{"chosen": {"ra')  # as a kill in the middle of a line leaves it
    report = score_files(model, data, out)
    assert (report.rows, report.resumed) == (23, 10)
    ours, expected = ([json.loads(line) for line in f.read_text().splitlines()] for f in (out, whole))
    for line, other in zip(ours, expected, strict=True):
        assert line.keys() == other.keys()  # a tie has no chosen response
        for scores, others in zip(line.values(), other.values(), strict=True):
            if isinstance(scores, dict):
                assert scores["raw"] == pytest.approx(others["raw"], abs=1e-5)
    with pytest.raises(ResumeError, match="data differ"):
        score_files(model, ["synthetic:helpful:train"], out)
    assert score_files(model, ["synthetic:helpful:train"], out, overwrite=True).resumed == 0


def unfinished(model: RewardModel, data: Path, out: Path, rows: int) -> None:
    """Score so many rows, then stop."""

    def stop(written: int) -> None:
        if written:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reward_models.inference.score_files.CHUNK", rows)
        with pytest.raises(KeyboardInterrupt):
            score_files(model, [str(data)], out, on_rows=stop)


def write_rows(file: Path, texts: list[str]) -> None:
    rows = ({"prompt": "Hm?", "completion": text} for text in texts)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_changed_data_of_equal_size_are_not_continued_with(saved: Path, tmp_path: Path) -> None:
    model, data, out = RewardModel.load(saved), tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(data, ["one", "two", "six", "ten"])
    unfinished(model, data, out, 2)
    before = out.read_bytes()
    for changed in (["two", "one", "six", "ten"], ["one", "ten", "six", "two"], ["one"]):
        write_rows(data, changed)
        with pytest.raises(ResumeError, match="data have changed since 2 of their rows were scored"):
            score_files(model, [str(data)], out)
        assert out.read_bytes() == before
    write_rows(data, ["one", "two", "ten", "six", "new"])  # what is not scored yet may change
    report = score_files(model, [str(data)], out)
    assert (report.rows, report.resumed) == (5, 2)
    whole = tmp_path / "whole.jsonl"
    score_files(model, [str(data)], whole)
    ours, expected = (
        [json.loads(line)["response"]["raw"] for line in f.read_text().splitlines()] for f in (out, whole)
    )
    assert ours == pytest.approx(expected, abs=1e-5)


def test_sources_without_rows_are_refused_before_an_output_is_begun(saved: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    data.write_text("\n")
    with pytest.raises(SourceError, match=f"no rows in {data}"):
        score_files(RewardModel.load(saved), [str(data)], out)
    assert not out.exists()


def test_a_kill_between_output_and_note_is_recovered_from(saved: Path, tmp_path: Path) -> None:
    model, data, out = RewardModel.load(saved), tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    note = tmp_path / "out.jsonl.job.json"
    write_rows(data, ["one", "two", "six", "ten"])
    unfinished(model, data, out, 2)
    old = note.read_bytes()
    whole = score_files(model, [str(data)], out)
    lines = out.read_text().splitlines()
    assert (whole.rows, whole.resumed) == (4, 2)
    note.write_bytes(old)  # the output has lines that the note does not know
    again = score_files(model, [str(data)], out)
    assert (again.rows, again.resumed) == (4, 2)
    assert len(out.read_text().splitlines()) == len(lines) == 4
    out.unlink()  # a note without its output
    assert score_files(model, [str(data)], out).resumed == 0
    out.write_bytes(b"")
    note.unlink()  # an empty output without its note
    assert score_files(model, [str(data)], out).rows == 4
    note.unlink()  # an output of something else
    with pytest.raises(ResumeError, match=r"another job.*--overwrite"):
        score_files(model, [str(data)], out)
    assert score_files(model, [str(data)], out, overwrite=True).rows == 4
    out.write_bytes(out.read_bytes()[:10])
    with pytest.raises(ResumeError, match="shorter than the 4 lines"):
        score_files(model, [str(data)], out)


def test_bad_rows_are_counted_over_all_calls(saved: Path, tmp_path: Path) -> None:
    model, data, out = RewardModel.load(saved), tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(data, ["", "two", "six", ""])
    unfinished(model, data, out, 2)
    assert score_files(model, [str(data)], out).bad == 2
    assert score_files(model, [str(data)], out).bad == 2


def test_a_score_that_is_not_finite_is_an_error(saved: Path, tmp_path: Path) -> None:
    model = RewardModel.load(saved)
    with torch.no_grad():
        next(p for n, p in model.scorer.named_parameters() if "embed" in n)[:] = float("nan")
    talk = [Message("user", "Hm?"), Message("assistant", "Yes.")]
    with pytest.raises(ValueError, match="2 of 2 scores are not finite, the first of conversation 0"):
        model.score([talk, talk])
    pairs = [((talk[0],), (talk[1],))]
    assert not math.isfinite(model.score_responses(pairs, finite=False)[0].raw)
    data, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(data, ["one", ""])
    report = score_files(model, [str(data)], out)
    assert (report.rows, report.bad) == (2, 2)
    assert json.loads(out.read_text().splitlines()[0]) == {"error": "the score of response is not finite"}


def _first(n: int) -> Any:
    from itertools import islice

    from reward_models.data.sources import read_responses

    return lambda *args, **kwargs: islice(read_responses(*args, **kwargs), n)


def test_a_row_that_the_template_refuses_costs_the_others_nothing(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, out = RewardModel.load(saved), tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(data, ["one", "two", "six"])
    score_files(model, [str(data)], out)
    expected = [json.loads(line)["response"]["raw"] for line in out.read_text().splitlines()]
    text = ChatRenderer.text

    def picky(self: ChatRenderer, prompt: Any, response: Any) -> str:
        if response[-1].content == "two":
            raise ValueError("the chat template refuses it")
        return text(self, prompt, response)

    monkeypatch.setattr(ChatRenderer, "text", picky)
    report = score_files(model, [str(data)], out, overwrite=True)
    assert (report.rows, report.bad) == (3, 1)
    first, second, third = map(json.loads, out.read_text().splitlines())
    assert second == {"error": "the chat template refuses it"}
    assert [first["response"]["raw"], third["response"]["raw"]] == pytest.approx(expected[::2], abs=1e-5)
