"""Rows in public layouts, and what is read of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reward_models.data.records import Comparison, Conversation, Record, RecordType
from reward_models.data.sources import read

ASKED = "Name a tree."

PLAIN = {"chosen": "Oak.", "rejected": "Cod."}


def user(text: str = ASKED) -> dict[str, Any]:
    return {"role": "user", "content": text}


def reply(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def read_all(tmp_path: Path, rows: list[Any], record_type: RecordType | None = None) -> list[Any]:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return list(read(str(path), record_type))


def pair_of(record: Record) -> tuple[Conversation, str, str]:
    """``(prompt, better text, worse text)``."""
    assert isinstance(record, Comparison)
    assert record.label != "tie"
    better, worse = record.response_a, record.response_b
    if record.label == "b":
        better, worse = worse, better
    return record.prompt, better[-1].content, worse[-1].content
