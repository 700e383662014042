"""Entries of the folder: made once, whole or not at all, found again by their key alone."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from reward_models.data import prepared
from reward_models.data.prepared import Entry, contents, differences, entry, file_digest, prepared_in


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def number(value: int, calls: list[int] | None = None) -> Any:
    def make(path: Path) -> dict[str, Any]:
        if calls is not None:
            calls.append(value)
        (path / "number").write_text(str(value))
        return {"value": value}

    return make


def test_an_entry_is_made_once_and_found_by_its_key() -> None:
    calls: list[int] = []
    first, again = (entry("x", {"a": 1, "b": [2]}, number(7, calls)) for _ in range(2))
    other = entry("x", {"a": 2, "b": [2]}, number(8, calls))
    assert calls == [7, 8]
    assert (first.made, again.made, other.made) == (True, False, True)
    assert first.path == again.path != other.path
    assert again.facts == {"value": 7}
    assert (again.path / "number").read_text() == "7"


def test_the_folder_is_the_users_unless_the_environment_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_CACHE", "~/elsewhere")
    assert prepared.folder() == Path.home() / "elsewhere" / "data"
    monkeypatch.delenv("KEEL_CACHE")
    assert prepared.folder() == Path.home() / ".cache" / "keel" / "data"


@pytest.mark.parametrize("damage", ["shorter", "missing", "facts", "another key"])
def test_a_damaged_entry_is_made_anew(damage: str) -> None:
    path = entry("x", {"a": 1}, number(123)).path
    if damage == "shorter":
        (path / "number").write_text("12")
    elif damage == "missing":
        (path / "number").unlink()
    elif damage == "facts":
        (path / "facts.json").write_text("{")
    else:
        facts = json.loads((path / "facts.json").read_text())
        (path / "facts.json").write_text(json.dumps(facts | {"key": {"a": 9}}))
    again = entry("x", {"a": 1}, number(123))
    assert again.made
    assert (again.path / "number").read_text() == "123"


def test_a_failure_leaves_nothing(own_folder: Path) -> None:
    def fails(path: Path) -> dict[str, Any]:
        (path / "half").write_text("half")
        raise ValueError("row 3")

    with pytest.raises(ValueError, match="row 3"):
        entry("x", {"a": 1}, fails)
    assert [file.suffix for file in own_folder.iterdir()] == [".lock"]


def _slow(start: Any, count: Any) -> None:
    def make(path: Path) -> dict[str, Any]:
        (path / "half").write_text("half")
        with count.get_lock():
            count.value += 1
        start.set()
        time.sleep(0.5)
        return {}

    entry("x", {"a": 1}, make)


def test_one_process_makes_an_entry_while_others_wait() -> None:
    context = multiprocessing.get_context("fork")
    start, count = context.Event(), context.Value("i", 0)
    processes = [context.Process(target=_slow, args=(start, count)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert count.value == 1


def test_what_a_killed_process_left_is_never_read_and_is_removed(own_folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, count = context.Event(), context.Value("i", 0)
    process = context.Process(target=_slow, args=(start, count))
    process.start()
    assert start.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert len(list(own_folder.glob(".*.partial/half"))) == 1
    made = entry("x", {"a": 1}, number(5))
    assert made.made
    assert sorted(file.name for file in made.path.iterdir()) == ["facts.json", "number"]
    assert not list(own_folder.glob(".*.partial"))


def test_a_full_disk_is_explained(own_folder: Path) -> None:
    def full(path: Path) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=rf"no space left on the disk.*{own_folder}.*KEEL_CACHE"):
        entry("x", {"a": 1}, full)


def test_contents_follow_the_bytes_of_files_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("one\n")
    before, stamp = contents([str(file)]), file.stat()
    file.write_text("two\n")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the same size and time
    after = contents([str(file)])
    assert before is not None
    assert after is not None
    assert before.keys() == after.keys() == {str(file)}
    assert before != after
    file.write_text("one\n")
    assert contents([str(tmp_path / "*.jsonl")]) == before
    assert contents([]) == {}
    assert contents(["synthetic:helpful"]) == {"synthetic:helpful": "synthetic"}
    assert contents([str(file), "owner/name"]) is None  # of the hub: known only once it was read


def test_a_file_is_hashed_by_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "SEGMENT", 3)
    file = tmp_path / "file"
    file.write_bytes(b"abcdefgh")
    parts = b"".join(hashlib.sha256(part).digest() for part in (b"abc", b"def", b"gh"))
    assert file_digest(file) == hashlib.sha256(parts).hexdigest()


def test_differences_name_what_changed() -> None:
    before = {"train": {"a.jsonl": "1" * 64, "b.jsonl": "2" * 64}, "settings": {"max_length": 512, "ties": True}}
    now = {"train": {"a.jsonl": "3" * 64, "b.jsonl": "2" * 64}, "settings": {"max_length": 1024, "ties": True}}
    assert differences(before, before) == []
    assert differences(before, now) == ["train.a.jsonl", "settings.max_length: 1024, was 512"]
    assert differences({"tokenizer": "x"}, {}) == ["tokenizer: None, was x"]


def test_the_size_and_the_place_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * 2**20))
    found = Entry(tmp_path, {}, {}, made=False)
    name, folder = tmp_path.name, tmp_path.parent
    assert prepared_in([found], 1.25) == f"prepared data found in 1.2 s: {name} in {folder}, 3.0 MiB"
