"""Verdicts, and the one function that turns sides of the screen into responses and back.

Messages reach annotators: none of them names a slot, which would tell which response is stored as ``a``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from annotation_ui.store.forms import SLOTS, Form, Kind

LABELS: dict[Kind, tuple[str, ...]] = {
    "preference": ("a", "b", "tie", "both_bad", "skip"),
    "safety": ("safe", "unsafe", "skip"),
    "ranking": ("ranked", "skip"),
    "attributes": ("rated", "skip"),
    "rewrite": ("written", "skip"),
}
STRENGTHS = {1: "slightly better", 2: "better", 3: "much better"}
SEVERITIES = {1: "minor", 2: "moderate", 3: "severe"}
SKIP_REASONS = ("I cannot tell", "not my language", "broken or empty", "too distressing", "something else")
RATIONALE_LIMIT = 4000
TEXT_LIMIT = 100_000
SPANS_LIMIT = 50
NOTE_LIMIT = 500


class VerdictError(ValueError):
    """A verdict that makes no sense; the message gives the reason in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An annotator's verdict, in canonical positions.

    Args:
        label: ``a``, ``b``, ``tie``, ``both_bad`` | ``safe``, ``unsafe`` | ``ranked`` | ``rated`` | ``written`` |
            ``skip``.
        strength: how much better, 1 to 3, as in :data:`STRENGTHS`; with the tie a scale of seven points. ``None`` if it
            was not asked for.
        harms, severity: of an unsafe response.
        rationale: why, in the annotator's words.
        skip_reason: one of :data:`SKIP_REASONS`.
        payload: of ``ranked`` ``{"ranks": {slot: rank}}`` with 1 for the best and no number left out, of ``rated``
            ``{"ratings": {slot: {attribute: rating}}}`` with ``ranks`` where the form asks for them, of
            ``written`` ``{"text"}``; of any but a skip ``spans`` where passages were marked, and ``turns`` where the
            form asks for them: ``{message of the conversation, from "0": label}``; else ``None``.
    """

    label: str
    strength: int | None = None
    harms: tuple[str, ...] = ()
    severity: int | None = None
    rationale: str = ""
    skip_reason: str = ""
    payload: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.strength is not None and (self.label not in ("a", "b") or self.strength not in STRENGTHS):
            raise VerdictError(f"strength {self.strength}: only a preferred response has one, and it is 1, 2 or 3")
        if (self.harms or self.severity is not None) and self.label != "unsafe":
            raise VerdictError("harms and a severity belong to an unsafe response only")
        if self.severity is not None and self.severity not in SEVERITIES:
            raise VerdictError(f"severity {self.severity} is not 1, 2 or 3")
        if (self.label == "skip") != bool(self.skip_reason):
            raise VerdictError("a skip needs a reason, and nothing else has one")
        if len(self.rationale) > RATIONALE_LIMIT:
            raise VerdictError(f"the rationale has {len(self.rationale)} characters, {RATIONALE_LIMIT} allowed")


def across(label: str, left: str | None) -> str:
    """``left`` and ``right`` to the response shown there, ``a`` or ``b``, and back; every other label as it is.

    Its own inverse for a given ``left``, the response on the left-hand side. This is the only place that knows which
    response is where.
    """
    slots = {"left": "a", "right": "b"} if left != "b" else {"left": "b", "right": "a"}
    return slots.get(label) or {slot: side for side, slot in slots.items()}.get(label, label)


def slots_shown(left: str | None, responses: int) -> tuple[str, ...]:
    """The slots of an item's responses in the order shown; ``left`` as an assignment stores it."""
    if responses > 2 and left is not None and sorted(left) == sorted(SLOTS[:responses]):
        return tuple(left)
    return ("b", "a") if responses == 2 and left == "b" else tuple(SLOTS[:responses])


def draw_order(responses: int, *, flip: bool, draw: Random) -> str:
    """A random order as an assignment stores it: ``flip`` turns two responses round, more are shuffled by ``draw``."""
    if responses <= 2:
        return "b" if flip else "a"
    return "".join(draw.sample(SLOTS[:responses], responses))


def turned(left: str) -> str:
    """The opposite order."""
    return left[::-1] if len(left) > 1 else "b" if left == "a" else "a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The things on the screen that a verdict refers to.

    Args:
        left: the order of the responses, as an assignment stores it.
        responses: how many there are.
        harms, form: of the guideline that was shown.
        texts: the last message of each response, by slot, where passages can be marked.
        turns: the messages of the conversation that are judged, where the form asks for it; from 0.
    """

    kind: Kind
    left: str | None
    responses: int
    harms: Sequence[str]
    form: Form
    texts: tuple[str, ...] = ()
    turns: tuple[int, ...] = ()

    @property
    def order(self) -> tuple[str, ...]:
        return slots_shown(self.left, self.responses)


def parse_verdict(said: Mapping[str, Any], shown: Shown) -> Verdict:
    """The verdict in data from a browser, which may be anything.

    Args:
        said: ``label`` (for a preference ``left``, ``right``, ``tie``, ``both_bad`` or ``skip``), the other fields
            of :class:`Verdict`, and ``ranks``, ``ratings`` (both lists in the order shown) or ``text``.

    Raises:
        VerdictError: it is not one.
    """
    label = said.get("label")
    sides = ("left", "right", "tie", "both_bad", "skip")
    if label not in (sides if shown.kind == "preference" else LABELS[shown.kind]):
        raise VerdictError(f"{str(label)[:40]!r} is no verdict on a {shown.kind} item")
    named = said.get("harms") or []
    if not isinstance(named, list) or any(harm not in shown.harms for harm in named):
        raise VerdictError("a harm category is not one of the guideline's")
    reason = said.get("skip_reason") or ""
    if reason and reason not in SKIP_REASONS:
        raise VerdictError("the reason to skip is not one of those offered")
    if label == "unsafe" and not named:
        raise VerdictError("an unsafe response needs at least one harm category")
    if label in ("left", "right") and _whole(said, "strength") is None:
        raise VerdictError("a preference needs a strength, 1 to 3")
    return Verdict(
        label=across(str(label), shown.left),
        strength=_whole(said, "strength"),
        harms=tuple(harm for harm in shown.harms if harm in named),
        severity=_whole(said, "severity"),
        rationale=clean_text(said, "rationale"),
        skip_reason=str(reason),
        payload=_payload(str(label), said, shown),
    )


def _payload(label: str, said: Mapping[str, Any], shown: Shown) -> dict[str, Any] | None:
    payload = _PAYLOADS[label](said, shown) if label in _PAYLOADS else None
    marked = _spans(said, shown) if label != "skip" and said.get("spans") else {}
    judged = _turns(said, shown) if label != "skip" and shown.turns else {}
    return {**(payload or {}), **marked, **judged} if marked or judged else payload


def _turns(said: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    """Labels of the assistant's turns: ``{"turns": {message: label}}``."""
    given, wanted = said.get("turns"), [str(turn) for turn in shown.turns]
    if not isinstance(given, dict) or any(turn not in wanted for turn in given):
        raise VerdictError("the verdicts on turns are not of the conversation on the screen")
    for turn in wanted:
        if given.get(turn) is None:
            raise VerdictError(f"turn {int(turn) + 1} of the conversation has no verdict yet")
        if given[turn] not in shown.form.turns:
            raise VerdictError("the verdict on a turn is not one of the guideline's")
    return {"turns": {turn: given[turn] for turn in wanted}}


def _by_response(said: Mapping[str, Any], key: str, shown: Shown, words: str) -> list[Any]:
    """The list under ``key`` with an entry for each response, in the order shown."""
    given = said.get(key)
    if not isinstance(given, list) or len(given) != shown.responses:
        raise VerdictError(f"the {words} are not those of the responses on the screen")
    return given


def _spans(said: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    """Passages marked in the responses: ``{"spans": {slot: [{"start", "end", "text", "label", "note"}]}}``.

    ``start`` and ``end`` count the characters of the response's last message.
    """
    given = _by_response(said, "spans", shown, "marked passages")
    if len(shown.texts) != shown.responses:
        raise VerdictError("no passages are marked in this project")
    found: dict[str, list[dict[str, Any]]] = {}
    for slot, marks in zip(shown.order, given, strict=True):
        if not isinstance(marks, list) or len(marks) > SPANS_LIMIT or not all(isinstance(mark, dict) for mark in marks):
            raise VerdictError(f"a response has at most {SPANS_LIMIT} marked passages")
        found[slot] = sorted(
            (_span(mark, shown, shown.texts[SLOTS.index(slot)]) for mark in marks),
            key=lambda span: (span["start"], span["end"], span["label"]),
        )
    return {"spans": dict(sorted(found.items()))} if any(found.values()) else {}


def _span(mark: Mapping[str, Any], shown: Shown, response: str) -> dict[str, Any]:
    start, end = _whole(mark, "start"), _whole(mark, "end")
    if start is None or end is None or not 0 <= start < end <= len(response):
        raise VerdictError("a marked passage does not lie within its response")
    if mark.get("text") != response[start:end]:
        raise VerdictError("a marked passage is not what the response says there; mark it again")
    if mark.get("label") not in shown.form.spans:
        raise VerdictError("the label of a marked passage is not one of the guideline's")
    note = clean_text(mark, "note")
    if len(note) > NOTE_LIMIT:
        raise VerdictError(f"the note on a passage has {len(note)} characters, {NOTE_LIMIT} allowed")
    return {"start": start, "end": end, "text": response[start:end], "label": mark["label"], "note": note}


def _ratings(said: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    given, names = _by_response(said, "ratings", shown, "ratings"), list(shown.form.attributes or {})
    low, high = shown.form.scale
    found = {}
    for place, (slot, one) in enumerate(zip(shown.order, given, strict=True)):
        if not isinstance(one, dict) or any(key not in names for key in one):
            raise VerdictError("an attribute is not one of the guideline's")
        missing = [name for name in names if one.get(name) is None]
        if missing:
            whose = f" of response {letter(place)}" if shown.responses > 1 else ""
            raise VerdictError(f"{missing[0]}{whose} is not rated yet")
        values = {name: _whole(one, name) for name in names}
        if any(value is None or not low <= value <= high for value in values.values()):
            raise VerdictError(f"a rating is not a whole number from {low} to {high}")
        found[slot] = values
    compared = _ranks(said, shown) if shown.form.comparison and shown.responses > 1 else {}
    return {"ratings": dict(sorted(found.items())), **compared}


def _ranks(said: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    given = _by_response(said, "ranks", shown, "ranks")
    for place, rank in enumerate(given):
        if rank is None:
            raise VerdictError(f"response {letter(place)} has no rank yet")
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= shown.responses:
            raise VerdictError(f"a rank is not a whole number from 1 to {shown.responses}")
    if not shown.form.ties and len(set(given)) < len(given):
        raise VerdictError("two responses have the same rank; in this project every rank is given once")
    dense = {rank: number for number, rank in enumerate(sorted(set(given)), start=1)}
    return {"ranks": dict(sorted((slot, dense[rank]) for slot, rank in zip(shown.order, given, strict=True)))}


def _written(said: Mapping[str, Any], shown: Shown) -> dict[str, Any]:
    text = clean_text(said, "text")
    if not text:
        raise VerdictError("there is no response yet")
    if len(text) > TEXT_LIMIT:
        raise VerdictError(f"the response has {len(text):,} characters, {TEXT_LIMIT:,} allowed")
    return {"text": text}


_PAYLOADS = {"rated": _ratings, "ranked": _ranks, "written": _written}


def letter(place: int) -> str:
    """The name of the response at a place on the screen, from 0: A, B, …"""
    return SLOTS[place].upper()


def payload_in_sides(payload: Mapping[str, Any] | None, left: str | None) -> dict[str, Any]:
    """A payload as a form shows it: lists in the order of the screen."""
    by_slot = ("ratings", "ranks", "spans")
    return {
        name: [value[slot] for slot in slots_shown(left, len(value))] if name in by_slot else value
        for name, value in (payload or {}).items()
    }


def _whole(said: Mapping[str, Any], key: str) -> int | None:
    value = said.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise VerdictError(f"{key} is not a whole number")
    return value


def clean_text(said: Mapping[str, Any], key: str) -> str:
    """Text that every database can store: no NUL, no half of a surrogate pair."""
    value = said.get(key) or ""
    if not isinstance(value, str):
        raise VerdictError(f"{key} is not text")
    return storable(value).strip()


def storable(text: str) -> str:
    """``text`` less the characters that databases refuse."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
