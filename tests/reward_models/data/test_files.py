"""Files that are damaged, ambiguous, or made to fill memory are errors that say where and what."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from reward_models.data import files
from reward_models.data.files import BadRow, arrow_row, read_rows


def rows_of(path: Path, content: bytes) -> list[Any]:
    path.write_bytes(content)
    return list(read_rows(path))


HEADER = b"prompt,chosen,rejected\n"


@pytest.mark.parametrize(
    ("content", "good", "reason"),
    [
        (HEADER + b'a,b,"c\nd,e,f\ng,h,i\n', 0, "from line 2 of the file on"),
        (HEADER + b'a,b,c\nd,"e,f\ng,h,i\n', 1, "from line 3 of the file on"),
        (HEADER + b'a,b,"c\nd,e,"f"\n', 0, "from line 2 of the file on"),  # the next quote ends the cell of the first
        (HEADER + b'"a","b","c\n"d","e","f"\n', 0, "from line 2 of the file on"),
        (b"prompt,chosen,chosen,rejected\na,b,c,d\n", 0, "the header names 'chosen' twice"),
        (HEADER + b"a,b\n", 0, "fewer cells than the header"),
        (HEADER + b"a,b,c,d\n", 0, "more cells than the header"),
        (b"prompt;chosen;rejected\na;b;c\n", 0, "separated by semicolons; save the file again with commas"),
        (b"prompt\tchosen\trejected\na\tb\tc\n", 0, "separated by tabs"),
    ],
)
def test_csv_that_would_be_read_wrong(tmp_path: Path, content: bytes, good: int, reason: str) -> None:
    *rows, bad = rows_of(tmp_path / "a.csv", content)
    assert len(rows) == good
    assert isinstance(bad, BadRow)
    assert reason in bad.reason


def test_csv_that_is_right_stays_right(tmp_path: Path) -> None:
    content = HEADER + b'"a, ""b""\nc",5" tall,\n\n\nd,e,f\n'
    assert rows_of(tmp_path / "a.csv", content) == [
        (1, {"prompt": 'a, "b"\nc', "chosen": '5" tall', "rejected": None}),
        (2, {"prompt": "d", "chosen": "e", "rejected": "f"}),
    ]


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"prompt": [{"role": "user", "role": "tool"}]}'])
def test_a_key_that_is_there_twice(tmp_path: Path, text: str) -> None:
    (bad,) = rows_of(tmp_path / "a.jsonl", text.encode())
    assert isinstance(bad, BadRow)
    assert "is there twice" in bad.reason
    (bad,) = rows_of(tmp_path / "a.json", f"[{text}]".encode())
    assert "is there twice" in bad.reason


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", gzip.compress(b'{"a": 1}\n'), "compressed with gzip; add .gz to its name"),
        ("a.csv", gzip.compress(b"a,b\n1,2\n"), "compressed with gzip; add .gz to its name"),
        ("a.jsonl.gz", b'{"a": 1}\n', "not compressed with gzip; take .gz off its name"),
        ("a.jsonl", b"PK\x03\x04....", "a zip archive; unpack it first"),
        ("a.jsonl", b"PAR1....", "is Parquet; give it the ending .parquet"),
        ("a.jsonl", b'{"a": 1},\n', "a comma stands behind the row"),
        ("a.jsonl", b"[\n", "a row must stand on one line"),
        ("a.jsonl", b'{"a": 1} {"a": 2}\n', "not JSON at column 10: Extra data"),
        ("a.json", b'{"data": [{"a": 1}], "n": 1}', "write the list under 'data' into a file of its own"),
        ("a.json", b'{"data": [], "more": []}', "holds an object, not a list of rows"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    bad, *_ = rows_of(tmp_path / name, content)
    assert isinstance(bad, BadRow)
    assert reason in bad.reason


# --- bombs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FREE", 2**16)
    monkeypatch.setattr(files, "LINE_LIMIT", 2**18)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.csv.gz"])
def test_a_gzip_file_that_unpacks_too_far(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b'{"a": "' + b"x" * 2**24 + b'"}'))
    (bad,) = read_rows(path)
    assert isinstance(bad, BadRow)
    assert "unpacks to more than" in bad.reason or "longer than" in bad.reason


@pytest.mark.usefixtures("small_limits")
def test_a_line_without_end(tmp_path: Path) -> None:
    (bad,) = rows_of(tmp_path / "a.jsonl", b'{"a": "' + b"x" * 2**19 + b'"}')
    assert isinstance(bad, BadRow)
    assert "line 1 is longer than" in bad.reason


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    "table",
    [
        {"a": ["x" * 2**20] * 64},  # one long text in a dictionary, repeated
        {"a": pyarrow.DictionaryArray.from_arrays([0] * 4096, ["x" * 2**17])},  # the same, kept as a dictionary
        {"a": [None] * 2_000_000},  # nothing, very often
        {"a": ["x" * 2**25]},
    ],
)
def test_a_parquet_file_that_unpacks_too_far(tmp_path: Path, table: dict[str, Any]) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table(table), path, compression="zstd")
    assert path.stat().st_size < 2**14
    *_, bad = read_rows(path)
    assert isinstance(bad, BadRow)
    assert "unpacks to" in bad.reason


def test_ordinary_repetition_is_no_bomb(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "the same prompt " * 20, "chosen": "yes", "rejected": "no"}).encode() + b"\n"
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(line * 5000))
    assert path.stat().st_size * 50 < len(line) * 5000
    assert len(list(read_rows(path))) == 5000


def test_a_gzip_file_that_breaks_off_gives_what_stands_before(tmp_path: Path) -> None:
    lines = b"".join(b'{"a": "%032x"}\n' % (n * 2**100 // 7) for n in range(1, 3000))
    whole = gzip.compress(lines)
    *rows, bad = rows_of(tmp_path / "a.jsonl.gz", whole[: len(whole) * 3 // 4])
    assert isinstance(bad, BadRow)
    assert 1000 < len(rows) < 3000
    assert "breaks off" in bad.reason
    assert zlib.crc32(lines)  # the lines differ, so that they do not compress into one block


# --- Arrow ----------------------------------------------------------------------------------------------------------


def test_null_members_of_arrow_are_no_fields(tmp_path: Path) -> None:
    rows = [
        {"tests": [{"input": "1", "output": "2"}], "answer": "1"},
        {"tests": [{"function": "f", "arguments": ["1"], "output": "2"}], "answer": None},
    ]
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert [row for _, row in read_rows(path)] == rows  # type: ignore[misc]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_only_null_members_are_taken_out(row: dict[str, Any]) -> None:
    def members(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: members(member) for key, member in value.items() if member is not None}
        return [members(member) for member in value] if isinstance(value, list) else value

    found = arrow_row(row)
    assert found.keys() == row.keys()
    assert found == {name: members(value) for name, value in row.items()}
    assert arrow_row(found) == found
