"""The known answers of rows that are imported as gold items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotation_ui.store.forms import Form, Kind
from annotation_ui.store.verdicts import NOTE_LIMIT, Shown, VerdictError, parse_verdict, storable
from reward_models.data.conversations import quoted
from reward_models.data.records import RecordError

Row = Mapping[str, Any]
LABELS: dict[Kind, str] = {"ranking": "ranked", "attributes": "rated"}


def known_answer(row: Row, kind: Kind, form: Form, responses: int) -> tuple[str, dict[str, Any]]:
    """The label and the answer of an item of the kinds ranking and attributes.

    A row has ``ranks``, a list with the place of every response, 1 for the best; or ``ratings``, a list with a mapping
    of attributes to ratings for every response. With one response the attributes may be columns of the row.

    Raises:
        RecordError: there is none, or it does not fit the project.
    """
    said: dict[str, Any] = {"label": LABELS[kind], "ranks": row.get("ranks")}
    if kind == "attributes":
        names = list(form.attributes or {})
        columns = responses == 1 and row.get("ratings") is None and all(row.get(name) is not None for name in names)
        said["ratings"] = [{name: _whole(row[name]) for name in names}] if columns else row.get("ratings")
    needed = "ratings" if kind == "attributes" else "ranks"
    if said[needed] is None:
        raise RecordError(f"the row has no {needed} to be the known answer; add them, or import without --gold")
    shown = Shown(kind=kind, left=None, responses=responses, harms=(), form=form)
    try:
        payload = parse_verdict(said, shown).payload
    except VerdictError as error:
        raise RecordError(f"the known answer: {error}") from None
    return LABELS[kind], dict(payload or {})


def explanation_of(row: Row) -> dict[str, str]:
    """``{"explanation": …}`` of a known answer, for annotators in training; empty without one.

    Raises:
        RecordError: it is no text, or too long.
    """
    text = row.get("explanation")
    if text is None:
        return {}
    if not isinstance(text, str) or len(text) > NOTE_LIMIT:
        raise RecordError(f"key 'explanation' is {quoted(text)}, not a text of at most {NOTE_LIMIT} characters")
    return {"explanation": storable(text).strip()}


def _whole(value: object) -> object:
    """Ratings that a file holds as 3.0 are whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
