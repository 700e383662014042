"""Records in files: equal to those that were written, in order, a batch at a time."""

from __future__ import annotations

import datetime
import decimal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.data.record_files import BATCH, RecordFile, RecordWriter, from_text, to_text
from reward_models.data.records import Comparison, Message, Prompt, Rated, RecordError, SafetyLabel
from reward_models.data.synthetic import draws

CALL = Message("assistant", "", '{"tool_calls": [{"name": "f"}]}')
ASKED = (Message("system", "Zürich \u2713"), Message("user", "\ud83d lone surrogate"))
REPLY = (Message("assistant", "yes"),)
RECORDS = [
    Comparison(
        prompt=ASKED, response_a=REPLY, response_b=(CALL, *REPLY), label="b", strength=0.1, id="x:1", source="x"
    ),
    Comparison(prompt=ASKED, response_a=REPLY, response_b=REPLY, label="tie"),
    Comparison(prompt=ASKED, response_a=REPLY, response_b=(Message("assistant", "no"),), label="a", strength=2),
    SafetyLabel(prompt=ASKED, response=REPLY, label="unsafe", category="harm"),
    Rated(prompt=ASKED, response=REPLY, ratings=(4.0, None, 1, None, 0.5)),
    Prompt(prompt=ASKED, domain="reasoning", answer="1", language="de", columns={"tests": [{"a": None}]}, id="p:2"),
    (*ASKED, *REPLY),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_read_back_as_it_was(record: Any) -> None:
    assert from_text(to_text(record)) == record
    assert type(from_text(to_text(record))) is type(record)


def test_columns_of_a_prompt_that_json_has_no_type_for() -> None:
    """Of Parquet files and of other packages: some become text or numbers, the rest is an error with the prompt."""
    columns = {
        "day": datetime.date(2026, 1, 2),
        "price": decimal.Decimal("1.50"),
        "image": b"\x00\xff",
        "level": np.int64(3),
        "vector": np.array([0.5, 2.0]),
        "nested": {"at": [datetime.datetime(2026, 1, 2, 3, 4)]},
    }
    read = from_text(to_text(Prompt(prompt=ASKED, domain="helpfulness", columns=columns)))
    assert read.columns == {
        "day": "2026-01-02",
        "price": "1.50",
        "image": "AP8=",
        "level": 3,
        "vector": [0.5, 2.0],
        "nested": {"at": ["2026-01-02 03:04:00"]},
    }
    odd = Prompt(prompt=ASKED, domain="helpfulness", columns={"x": {1, 2}}, id="rows:7", source="rows")
    with pytest.raises(RecordError, match=r"rows:7 of rows: a column holds set.*Leave the column out"):
        to_text(odd)


def test_threads_read_records_in_any_order(tmp_path: Path) -> None:
    records = [SafetyLabel(prompt=ASKED, response=REPLY, label="safe", id=str(n)) for n in range(3 * BATCH)]
    write(tmp_path / "x.arrow", records, compressed=False)
    file = RecordFile[SafetyLabel](tmp_path / "x.arrow")
    places = [(n * 601) % len(records) for n in range(2000)]
    with ThreadPoolExecutor(4) as threads:
        assert [record.id for record in threads.map(file.__getitem__, places)] == [str(place) for place in places]


def write(path: Path, records: list[Any], **options: Any) -> RecordWriter[Any]:
    with RecordWriter[Any](path, **options) as writer:
        for record in records:
            writer.add(record)
    return writer


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1, 2 * BATCH + 3])
def test_a_file_is_a_sequence(tmp_path: Path, count: int) -> None:
    records = [SafetyLabel(prompt=ASKED, response=REPLY, label="safe", id=str(number)) for number in range(count)]
    assert write(tmp_path / "x.arrow", records).count == count
    file = RecordFile[SafetyLabel](tmp_path / "x.arrow")
    assert len(file) == count
    assert list(file) == records
    assert file[:3] == records[:3]
    for place in {0, count - 1, count // 2, BATCH} & set(range(count)):
        assert file[place] == records[place]
    with pytest.raises(IndexError):
        file[count]
    assert file.batches == -(-count // BATCH)


def test_ties_are_known_without_the_records(tmp_path: Path) -> None:
    records = list(draws.records("helpful", "train"))[:700]
    write(tmp_path / "x.arrow", records)
    expected = [isinstance(record, Comparison) and record.label == "tie" for record in records]
    assert RecordFile[Comparison](tmp_path / "x.arrow").ties().tolist() == expected
    assert any(expected)


def test_the_digest_follows_records_and_their_order(tmp_path: Path) -> None:
    first, second = RECORDS[:2]
    orders: list[list[Any]] = [[first, second], [first, second], [second, first], [first]]
    digests = [write(tmp_path / "x.arrow", records).digest for records in orders]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
