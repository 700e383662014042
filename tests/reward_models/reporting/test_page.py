"""The HTML page of reports: everything that is given stands in it, as text, and it refers to nothing outside."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from reward_models.reporting.charts import Picture
from reward_models.reporting.page import Card, Section, Table, embedded, write_page

ATTACK = '<script>alert(1)</script><img src="http://elsewhere/x.png">'


def page(out: Path, *sections: Section, summary: Table | None = None) -> str:
    file = write_page(sections, out / "new" / "report.html", title=f"Title {ATTACK}", lead="lead", summary=summary)
    assert file == out / "new" / "report.html"
    return file.read_text(encoding="utf-8")


def test_texts_of_models_and_data_are_escaped(tmp_path: Path) -> None:
    reply = {"mood": "good", "label": ATTACK, "score": ATTACK, "text": ATTACK}
    section = Section(
        title=ATTACK,
        lead=ATTACK,
        cards=[Card(ATTACK, ATTACK, ATTACK)],
        pictures=[embedded(Picture("name", ATTACK, ATTACK, b"png"))],
        tables=[Table(ATTACK, (ATTACK,), [[ATTACK]], ATTACK)],
        samples=[{"why": ATTACK, "prompt": ATTACK, "replies": [reply]}],
        details=ATTACK,
    )
    html = page(tmp_path, section, summary=Table("", (ATTACK,), [[ATTACK]]))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 15
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', html) == []


def test_everything_that_is_given_stands_in_the_page_in_order(tmp_path: Path) -> None:
    first = Section(
        "One", "lead one", [Card("91 %", "accuracy", "of pairs")], [], [Table("T", ("a", "b"), [["1", "x"]])]
    )
    second = Section("Two", "lead two", [], [embedded(Picture("p", "A chart", "A caption", b"\x89PNG"))], [])
    html = page(tmp_path, first, second)
    words = ("One", "lead one", "91 %", "accuracy", "of pairs", "Two", "lead two", "A chart", "A caption")
    places = [html.index(f">{word}<") for word in words if word not in ("A chart", "A caption")]
    assert places == sorted(places)
    assert html.index("A chart") < html.index("A caption")
    assert base64.b64encode(b"\x89PNG").decode() in html
