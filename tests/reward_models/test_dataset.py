"""Records and tokens of a configuration: prepared once, the same as from lists, and anew when something changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reward_models import dataset
from reward_models.data import streams
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.prepare import clean
from reward_models.data.prepared import differences
from reward_models.data.sources import BadRowsError, load
from reward_models.data.splits import split_by_prompt
from reward_models.dataset import DataConfig, load_records, tokenize


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_CACHE", str(tmp_path / "cache"))


def row(number: int, label: str = "a", **more: Any) -> dict[str, Any]:
    return {"prompt": f"question {number % 40} of {number % 7}", "response_a": f"yes {number}", "response_b": "no"} | {
        "label": label,
        **more,
    }


def write(file: Path, rows: list[Any]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def many(file: Path) -> str:
    """Rows with ties, copies and contradictions."""
    rows = [row(number, "tie" if number % 9 == 0 else "ab"[number % 2]) for number in range(300)]
    return write(file, [*rows, *rows[:20], *[row(number, "ab"[1 - number % 2]) for number in range(50, 60)]])


@pytest.mark.parametrize("conflicts", ["drop", "keep", "first"])
@pytest.mark.parametrize("evaluated", [False, True])
def test_records_in_files_are_those_of_the_lists(tmp_path: Path, conflicts: Any, evaluated: bool) -> None:
    source = many(tmp_path / "rows.jsonl")
    held = [write(tmp_path / "held.jsonl", [row(number) for number in range(5)])] if evaluated else []
    found = load_records(DataConfig(train=[source], eval=held, conflicts=conflicts), "preference")

    evaluation = load(held, "comparison").records
    cleaned = clean(load([source], "comparison"), evaluation=evaluation, conflicts=conflicts)
    shares = {"calibration": 0.05, "eval": 0.0 if evaluated else 0.05}
    expected = split_by_prompt(cleaned.records, shares | {"train": 1 - sum(shares.values())})
    assert list(found.train) == expected["train"]
    assert list(found.calibration) == expected["calibration"]
    assert {name: list(rows) for name, rows in found.eval.items()} == (
        {held[0]: evaluation} if evaluated else {"held out": expected["eval"]}
    )
    assert found.counts == {
        "read": 330,
        "bad rows": 0,
        "duplicates": cleaned.duplicates,
        "contradictions": cleaned.contradictions,
        **({"prompts of evaluation": sum(cleaned.contaminated.values())} if evaluated else {}),
        "calibration": len(expected["calibration"]),
        "train": len(expected["train"]),
    }
    assert cleaned.duplicates >= 20
    assert (cleaned.contradictions > 0) == (conflicts != "keep")


def prepare(source: str, **settings: Any) -> dataset.TokenizedData:
    config = DataConfig(train=[source], **settings)
    records = load_records(config, "preference")
    return tokenize(records, ChatRenderer(train_tokenizer(["question of yes no"], 300), "full"), config)


def test_what_is_prepared_is_found_until_bytes_or_settings_change(tmp_path: Path) -> None:
    source = many(tmp_path / "rows.jsonl")
    first, again = prepare(source), prepare(source)
    assert (first.entry.made, again.entry.made) == (True, False)
    assert first.train.fingerprint == again.train.fingerprint

    shorter = prepare(source, max_length=64)
    assert shorter.entry.made
    assert differences(first.prepared, shorter.prepared) == ["settings.train.max_length: 64, was 8192"]

    rows = Path(source).read_text().splitlines(keepends=True)
    Path(source).write_text("".join([*rows[:-1], rows[-1].replace("yes", "yea")]))
    changed = prepare(source)
    assert changed.entry.made
    assert f"train.{source}" in differences(first.prepared, changed.prepared)


def test_bad_rows_are_named_each_time_and_nothing_is_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [row(1), row(2, "neither"), row(3)])
    for _ in range(2):
        with pytest.raises(BadRowsError, match=rf"1 bad rows, 0 allowed:\n  {source}:2: .*'neither'"):
            prepare(source)
    assert prepare(source, max_bad=1, eval_fraction=0.0, calibration_fraction=0.0).entry.made


def test_a_source_that_is_no_file_is_read_once_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    rows = [row(number) for number in range(50)]

    def source(spec: str) -> streams.Stream:
        def stream() -> Iterator[tuple[int, dict[str, Any]]]:
            read.append(spec)
            yield from enumerate(rows, start=1)

        return streams.Stream(spec, "table", stream())

    monkeypatch.setattr(streams, "_of_scheme", source)
    config = DataConfig(train=["rows://table"])
    first, again = (load_records(config, "preference", run="one") for _ in range(2))
    assert len(read) == 1
    assert list(first.train) == list(again.train)
    other = load_records(config, "preference", run="two")
    assert len(read) == 2
    assert other.entry.path == first.entry.path  # the rows are the same
    rows.append(row(7, "b", response_b="something new"))
    assert load_records(config, "preference", run="three").entry.path != first.entry.path
    assert load_records(config, "preference", run="two").counts["read"] == 50  # as that run has read them
