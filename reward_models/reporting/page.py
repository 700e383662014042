"""The HTML page of all reports: cards of figures, pictures, tables and examples in one file without references."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from reward_models.reporting.charts import Picture


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; ``note`` explains it in one sentence."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One figure in large type, with its name below."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One model's or one run's part of the page.

    Attributes:
        pictures: see :func:`embedded`.
        samples: ``{"why", "prompt", "replies"}``; a reply is ``{"mood", "label", "score", "text"}``.
        sensitive: the samples are folded, with a warning.
        details: YAML, folded.
    """

    title: str
    lead: str
    cards: Sequence[Card]
    pictures: Sequence[Mapping[str, str]]
    tables: Sequence[Table]
    samples: Sequence[Mapping[str, Any]] = field(default_factory=list)
    sensitive: bool = False
    details: str = ""


def write_page(
    sections: Sequence[Section],
    out: Path,
    *,
    title: str,
    lead: str,
    summary: Table | None = None,
    reload_seconds: int = 0,
) -> Path:
    """Write the page to ``out`` and return ``out``. A reader of ``out`` sees the whole page or the one before.

    Args:
        summary: a table at the top of the page. ``reload_seconds``: a browser loads the page again after so long; 0:
            never.
    """
    environment = Environment(
        loader=PackageLoader("reward_models.reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("page.html").render(
        title=title, lead=lead, summary=summary, sections=sections, reload_seconds=reload_seconds
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(out)
    return out


def embedded(picture: Picture) -> dict[str, str]:
    """The picture as ``{"title", "caption", "data"}``, its PNG in base64."""
    data = base64.b64encode(picture.png).decode()
    return {"title": picture.title, "caption": picture.caption, "data": data}
