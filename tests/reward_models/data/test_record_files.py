"""Records in files: equal to those that were written, in order, a batch at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reward_models.data.record_files import BATCH, RecordFile, RecordWriter, from_text, to_text
from reward_models.data.records import Comparison, Message, Rated, SafetyLabel
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
    (*ASKED, *REPLY),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_read_back_as_it_was(record: Any) -> None:
    assert from_text(to_text(record)) == record
    assert type(from_text(to_text(record))) is type(record)


def write(path: Path, records: list[Any]) -> RecordWriter[Any]:
    with RecordWriter[Any](path) as writer:
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
