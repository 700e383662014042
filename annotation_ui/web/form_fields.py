"""The fields of the forms that pages send: ``{"fields": {name: text}}``, where every value may be anything."""

from __future__ import annotations

from collections.abc import Mapping

from annotation_ui.store.projects import ProjectError
from annotation_ui.web.context import Said

LONGEST_FIELD = 60_000


def fields_of(asked: Said) -> dict[str, str]:
    """The fields of a form: text that databases store, without spaces at the ends; passwords as they are."""
    found = asked.get("fields")
    if not isinstance(found, dict) or len(found) > 40:
        raise ProjectError("the form did not arrive")
    fields: dict[str, str] = {}
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, str) or len(value) > LONGEST_FIELD:
            raise ProjectError(f"a field of the form is no text, or longer than {LONGEST_FIELD} characters")
        clean = value.replace("\0", "").encode("utf-8", "replace").decode()
        fields[name] = clean if "password" in name else clean.strip()
    return fields


def whole(fields: Mapping[str, str], name: str, words: str) -> int | None:
    """The whole number in a field; ``None`` where it is empty.

    Raises:
        ProjectError: it is no number; ``words`` name the field.
    """
    text = fields.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ProjectError(f"{words}: {text[:20]!r} is not a whole number")
    return int(text)


def number(fields: Mapping[str, str], name: str, words: str) -> float:
    text = fields.get(name, "")
    try:
        return float(text[:50])
    except ValueError:
        raise ProjectError(f"{words}: {text[:20]!r} is not a number") from None
