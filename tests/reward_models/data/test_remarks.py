"""Remarks on unusual records are counted and printed, and plain records have no remark."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from reward_models.data.check import check, shown
from reward_models.data.formats import to_record
from reward_models.data.remarks import INVISIBLE, REPEATED, STRUCTURE, TEMPLATE, remarks
from reward_models.data.sources import load

PLAIN = {"prompt": "Name a tree.", "chosen": "Oak.", "rejected": "Cod."}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({}, []),
        ({"prompt": "<|im_start|>user\nName a tree.<|im_end|>\n<|im_start|>assistant\n"}, [TEMPLATE]),
        ({"prompt": "[INST] Name a tree. [/INST]"}, [TEMPLATE]),
        ({"prompt": "### Instruction:\nName a tree.\n\n### Response:"}, [TEMPLATE]),
        ({"prompt": "USER: Name a tree. ASSISTANT:"}, [TEMPLATE]),
        ({"chosen": "Oak.<|eot_id|>"}, [TEMPLATE]),
        ({"rejected": "Cod.</s>"}, [TEMPLATE]),
        ({"prompt": "Rules.\n\nHuman: Name a tree.\n\nAssistant:"}, [TEMPLATE]),
        ({"chosen": "Name a tree. Oak."}, [REPEATED]),
        ({"chosen": "Name a tree. Oak.", "rejected": "[INST]"}, [TEMPLATE, REPEATED]),
        ({"prompt": "['Name a tree.']"}, [STRUCTURE]),
        ({"chosen": '{"text": "Oak."}'}, [STRUCTURE]),
        ({"rejected": "\u200b \ufeff"}, [INVISIBLE]),
        ({"chosen": "[1] is a footnote", "rejected": "{x} is a set"}, []),
        ({"prompt": "Hi", "chosen": "Hi there"}, []),
        ({"prompt": "What does Human: mean? And [1]?", "chosen": "a<b>c</b>", "rejected": "s|t"}, []),
        ({"prompt": "Explain XML.", "chosen": "<s>text</s> is an element."}, [TEMPLATE]),
    ],
)
def test_remarks(row: dict[str, str], found: list[str]) -> None:
    assert remarks(to_record(PLAIN | row)) == found


def test_they_are_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(PLAIN | {"prompt": f"[INST] {n} [/INST]"}) for n in range(3)))
    with caplog.at_level(logging.WARNING):
        assert load(str(path), "comparison").remarks == {TEMPLATE: 3}
    assert "3 records have text of a chat template" in caplog.text
    (report,) = check([str(path)])
    assert (report.remarks, report.bad) == ({TEMPLATE: 3}, [])


def test_a_record_is_shown_as_it_was_read_without_escape_sequences() -> None:
    row = {"system": "Be terse.", "prompt": "Name a \x1b[31mtree.", "chosen": "Oak.", "rejected": "Cod.", "margin": 2}
    text = shown(to_record(row, id="a:1"))
    assert text.splitlines()[0] == "a:1: comparison"
    assert "    system: Be terse.\n    user: Name a \\x1b[31mtree." in text
    assert "  strength: 2.0" in text
    assert "\x1b" not in text
