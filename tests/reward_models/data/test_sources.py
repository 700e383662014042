from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from reward_models.data.records import Comparison, Message, Prompt, SafetyLabel
from reward_models.data.sources import BadRow, BadRowsError, SourceError, load, read
from reward_models.data.synthetic import draws as synthetic

ROWS = [{"prompt": f"question {n}", "chosen": f"good {n}", "rejected": f"bad {n}", "margin": n + 1} for n in range(5)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """``rows`` as the file's ending wants them."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    if name.endswith(".csv"):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
        content = text.getvalue().encode()
    else:
        content = lines(rows) if name.endswith(".jsonl") else json.dumps(rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def split(items: Any) -> tuple[list[Any], list[BadRow]]:
    items = list(items)
    return [i for i in items if not isinstance(i, BadRow)], [i for i in items if isinstance(i, BadRow)]


ENDINGS = ["jsonl", "jsonl.gz", "json", "json.gz", "csv", "csv.gz", "parquet"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_gives_the_same_records(tmp_path: Path, ending: str) -> None:
    expected = load(str(write(tmp_path / "data.jsonl", ROWS)), "comparison").records
    assert len(expected) == 5
    assert expected[1].strength == 2
    assert load(str(write(tmp_path / f"data.{ending}", ROWS)), "comparison").records == expected
    assert expected[0].source == "data"
    assert [record.id for record in expected] == [f"data:{n}" for n in range(1, 6)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_bad_row_is_yielded_with_its_line_and_the_rest_is_read(tmp_path: Path, ending: str) -> None:
    rows = [*ROWS[:2], ROWS[2] | {"chosen": ""}, *ROWS[3:]]
    path = write(tmp_path / f"data.{ending}", rows)
    records, bad = split(read(str(path), "comparison"))
    assert len(records) == 4
    assert [(row.file, row.line) for row in bad] == [(str(path), 3)]
    assert "chosen" in bad[0].reason
    assert bad[0].row["rejected"] == "bad 2"


def test_messages_survive_parquet(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "q"}],
        "chosen": [{"role": "assistant", "content": "x"}],
        "rejected": [{"role": "assistant", "content": "y"}],
    }
    assert load(str(write(tmp_path / "a.parquet", [row])), "comparison").records[0].prompt == (Message("user", "q"),)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a", ', "not JSON at column 17"),
        (b'{"prompt": "caf\xe9"}', "not UTF-8 at byte 15"),
        (b'["a", "b"]', "the row is a list, not an object"),
        (b"null", "the row is null"),
        (b'{"prompt": "\\ud800", "chosen": "b", "rejected": "c"}', "'prompt' is not UTF-8"),
        (b'{"prompt": "a", "chosen": "b", "rejected": "c", "margin": NaN}', "'margin' is nan"),
        (b'{"margin": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_broken_line_costs_that_line_only(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(lines(ROWS[:1]) + b"\n" + line + b"\n" + lines(ROWS[1:2]))
    records, bad = split(read(str(path), "comparison"))
    assert len(records) == 2
    assert [row.line for row in bad] == [3]
    assert reason in bad[0].reason
    assert "\n" not in bad[0].reason
    assert len(bad[0].reason) <= 300


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines(ROWS))
    assert len(load(str(path), "comparison").records) == 5


def test_a_truncated_gzip_file_names_the_line_where_it_broke(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"question {n * 7919 % 1000}", "chosen": f"{n**3}", "rejected": f"{n**4}x"} for n in range(1, 3000)
    ]
    path = write(tmp_path / "data.jsonl.gz", rows)
    path.write_bytes(path.read_bytes()[:-2000])
    records, bad = split(read(str(path), "comparison"))
    assert 0 < len(records) < len(rows)
    assert [row.line for row in bad] == [len(records) + 1]
    assert f"breaks off after line {len(records)}" in bad[0].reason


@pytest.mark.parametrize("ending", ["jsonl.gz", "json.gz", "csv.gz", "parquet", "json"])
def test_a_file_that_is_not_what_its_name_says_is_one_bad_row(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"data.{ending}"
    path.write_bytes(b"certainly nothing of the kind")
    records, bad = split(read(str(path), "comparison"))
    assert records == []
    assert [row.line for row in bad] == [1]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b'{"prompt": "a"}', "holds an object, not a list"),
        ("a.json", lines(ROWS), "named .jsonl"),
        ("a.csv", b"prompt,domain\na,safety,more\n", "more cells than the header"),
        ("a.csv", b"prompt,domain\ncaf\xe9,safety\n", "'prompt' is not UTF-8"),
        ("a.csv", b"prompt,domain\na\n", "fewer cells than the header"),
    ],
)
def test_broken_json_and_csv(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    records, bad = split(read(str(path), "prompt"))
    assert records == []
    assert reason in bad[0].reason


def test_long_cells_fit_in_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"prompt": "word " * 100_000, "domain": "safety"}])
    assert len(load(str(path), "prompt").records) == 1


def test_load_counts_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    good = str(write(tmp_path / "good.jsonl", ROWS))
    mixed = str(write(tmp_path / "mixed.jsonl", ROWS[:1] + [{"prompt": "a"}] * 12))
    with pytest.raises(BadRowsError) as caught:
        load([good, mixed], "comparison", max_bad=11)
    message = str(caught.value)
    assert "12 bad rows, 11 allowed" in message
    assert f"{mixed}:2: key 'chosen' is missing" in message
    assert f"{mixed}:11:" in message
    assert f"{mixed}:12:" not in message
    assert "and 2 more" in message
    assert f"`keel data check {mixed} --type comparison`" in message
    assert "max_bad=12" in message
    assert len(caught.value.bad) == 12
    loaded = load([good, mixed], "comparison", max_bad=12)
    assert loaded.counts == {good: 5, mixed: 1}
    assert (len(loaded.records), len(loaded.bad)) == (6, 12)


def test_load_stops_at_the_limit_of_each_spec(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS)
    other = write(tmp_path / "b.jsonl", ROWS)
    assert load([str(path), str(other)], "comparison", limit=2).counts == {str(path): 2, str(other): 2}


def test_load_renames_columns_and_takes_a_domain(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.jsonl", [{"prompt": "a", "good": "b", "bad": "c"}]))
    columns = {"chosen": "good", "rejected": "bad"}
    assert len(load(path, "comparison", columns=columns).records) == 1
    assert load(path, "prompt", domain="helpfulness").records[0].domain == "helpfulness"
    with pytest.raises(SourceError, match="no column of ours is called chozen"):
        load(path, "comparison", columns={"chozen": "good"})


def test_globs_home_and_environment_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jsonl", ROWS)
    write(tmp_path / "b.csv.gz", ROWS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SOMEWHERE", str(tmp_path))
    assert len(load("~/a.jsonl", "comparison").records) == 5
    assert len(load("$SOMEWHERE/*.*", "comparison").records) == 10
    assert {record.source for record in load("$SOMEWHERE/*.*", "comparison").records} == {"a", "b"}


def test_a_wrong_path_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "helpful.train.jsonl", ROWS)
    with pytest.raises(SourceError, match=r"nearest in .*: helpful\.train\.jsonl"):
        read(str(tmp_path / "helpfull.train.jsonl"), "comparison")
    with pytest.raises(SourceError, match=r"nearest in .*: helpful\.train\.jsonl; a hub data set"):
        read(str(tmp_path / "helpful.train.jsnl" / "deeper.jsonl"), "comparison")
    (tmp_path / "a.txt").touch()
    with pytest.raises(SourceError, match=r"no ending that says how to read it; one of \.jsonl"):
        read(str(tmp_path / "a.txt"), "comparison")
    with pytest.raises(SourceError, match="owner/name"):
        read("nothing", "comparison")


def test_an_unknown_record_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none of comparison, pair, safety, candidates, prompt"):
        read(str(write(tmp_path / "a.jsonl", ROWS)), "pairs")  # type: ignore[arg-type]


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load_dataset(*arguments: Any, **options: Any) -> Any:
        calls.append((arguments, options))
        return answer(*arguments, **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_a_hub_data_set_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = hub(monkeypatch, lambda *arguments, **options: iter([*ROWS[:1], {"prompt": "a"}]))
    records, bad = split(read("owner/name:test", "comparison"))
    assert calls == [(("owner/name", None), {"split": "test", "streaming": True})]
    assert (records[0].source, records[0].id) == ("owner/name", "owner/name:1")
    assert (bad[0].file, bad[0].line) == ("owner/name:test", 2)


def test_a_subset_is_a_configuration_or_else_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(name: str, config: str | None = None, **options: Any) -> Any:
        if config is not None:
            raise ValueError(f"BuilderConfig {config!r} not found")
        return iter(ROWS)

    calls = hub(monkeypatch, answer)
    records, _ = split(read("Anthropic/hh-rlhf/helpful-base", "comparison"))
    assert len(records) == 5
    assert calls == [
        (("Anthropic/hh-rlhf", "helpful-base"), {"split": "train", "streaming": True}),
        (("Anthropic/hh-rlhf",), {"data_dir": "helpful-base", "split": "train", "streaming": True}),
    ]
    assert records[0].source == "Anthropic/hh-rlhf/helpful-base"


def test_a_hub_that_cannot_be_reached_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: Any, **options: Any) -> Any:
        raise ConnectionError("no route")

    hub(monkeypatch, unreachable)
    with pytest.raises(SourceError, match="read as a hub data set, and no file by that name is here: ConnectionError"):
        read("owner/name", "comparison")


def test_a_connection_lost_while_reading_is_no_bad_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Any:
        yield ROWS[0]
        raise ConnectionError("gone")

    hub(monkeypatch, lambda *arguments, **options: rows())
    with pytest.raises(SourceError, match="reading stopped after row 1: gone"):
        list(read("owner/name", "comparison"))


def test_a_local_directory_is_read_as_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "test.jsonl", ROWS[:2])
    assert load(str(tmp_path), "comparison").records == load(f"{tmp_path}:train", "comparison").records
    assert len(load(f"{tmp_path}:test", "comparison").records) == 2
    assert load(str(tmp_path), "comparison").records[0].source == tmp_path.name


def test_synthetic_records_and_prompts_are_read_as_they_are() -> None:
    assert load("synthetic:helpful", "comparison", limit=20).records == list(synthetic.records("helpful", "train", 20))
    assert load("synthetic:safety:test", "safety", limit=20).records == list(synthetic.records("safety", "test", 20))
    assert load("synthetic:reasoning", None, limit=20).records == list(synthetic.records("reasoning", "train", 20))
    assert load("synthetic:safety", "prompt", limit=20).records == list(synthetic.prompts("train", "safety", 20))
    assert isinstance(load("synthetic:helpful", "prompt", limit=1).records[0], Prompt)
    for spec in ("synthetic:poems", "synthetic:safety:dev", "synthetic:safety:test:more"):
        with pytest.raises(SourceError, match="not of the form"):
            read(spec, "safety")


def test_reading_files_imports_neither_torch_nor_datasets(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS)
    code = (
        "import sys; from keel.commands.data import app; from reward_models.data import check, prepare;"
        f"check.check([{str(path)!r}]); print(sorted({{'torch', 'datasets', 'transformers'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_file_of_the_kit_reads_without_a_bad_row(keel_data: Path) -> None:
    files = [file for file in json.loads((keel_data / "MANIFEST.json").read_text()) if "rows" in file]
    assert len(files) > 30
    for file in files:
        votes = file["path"].startswith("annotations/")
        records, bad = split(read(str(keel_data / file["path"]), "prompt" if votes else None, domain="helpfulness"))
        assert bad == [], file["path"]
        assert len(records) == file["rows"], file["path"]
        if "labels" in file:
            assert all(isinstance(record, SafetyLabel) for record in records)
            assert file["labels"] == {
                label: sum(record.label == label for record in records) for label in ("safe", "unsafe")
            }
        elif file["path"].startswith("helpful/"):
            assert all(isinstance(record, Comparison) for record in records)
