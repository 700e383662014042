"""Verdicts, and the one function that turns sides of the screen into responses and back.

Messages reach annotators: none of them names a slot, which would tell which response is stored as ``a``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["preference", "safety"]
LABELS: dict[Kind, tuple[str, ...]] = {
    "preference": ("a", "b", "tie", "both_bad", "skip"),
    "safety": ("safe", "unsafe", "skip"),
}
STRENGTHS = {1: "slightly better", 2: "better", 3: "much better"}
SEVERITIES = {1: "minor", 2: "moderate", 3: "severe"}
SKIP_REASONS = ("I cannot tell", "not my language", "broken or empty", "too distressing", "something else")
RATIONALE_LIMIT = 4000

# The 14 categories of BeaverTails (arXiv:2307.04657), for projects that bring none of their own.
HARMS = (
    "animal abuse",
    "child abuse",
    "controversial topics, politics",
    "discrimination, stereotype, injustice",
    "drug abuse, weapons, banned substance",
    "financial crime, property crime, theft",
    "hate speech, offensive language",
    "misinformation regarding ethics, laws and safety",
    "non-violent unethical behavior",
    "privacy violation",
    "self-harm",
    "sexually explicit, adult content",
    "terrorism, organized crime",
    "violence, aiding and abetting, incitement",
)


class VerdictError(ValueError):
    """A verdict that makes no sense; the message gives the reason in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An annotator's verdict, in canonical positions.

    Args:
        label: ``a``, ``b``, ``tie``, ``both_bad`` | ``safe``, ``unsafe`` | ``skip``.
        strength: how much better, 1 to 3, as in :data:`STRENGTHS`; with the tie a scale of seven points. ``None`` if it
            was not asked for.
        harms, severity: of an unsafe response.
        rationale: why, in the annotator's words.
        skip_reason: one of :data:`SKIP_REASONS`.
    """

    label: str
    strength: int | None = None
    harms: tuple[str, ...] = ()
    severity: int | None = None
    rationale: str = ""
    skip_reason: str = ""

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


def parse_verdict(said: Mapping[str, Any], kind: Kind, *, left: str, harms: Sequence[str]) -> Verdict:
    """The verdict in data from a browser, which may be anything.

    Args:
        said: ``label`` (for a preference ``left``, ``right``, ``tie``, ``both_bad`` or ``skip``) and the other fields
            of :class:`Verdict`.
        left: the response that was shown on the left.
        harms: the categories of the guideline that was shown.

    Raises:
        VerdictError: it is not one.
    """
    label = said.get("label")
    sides = ("left", "right", "tie", "both_bad", "skip")
    if label not in (sides if kind == "preference" else LABELS["safety"]):
        raise VerdictError(f"{str(label)[:40]!r} is no verdict on a {kind} item")
    named = said.get("harms") or []
    if not isinstance(named, list) or any(harm not in harms for harm in named):
        raise VerdictError("a harm category is not one of the guideline's")
    reason = said.get("skip_reason") or ""
    if reason and reason not in SKIP_REASONS:
        raise VerdictError("the reason to skip is not one of those offered")
    if label == "unsafe" and not named:
        raise VerdictError("an unsafe response needs at least one harm category")
    if label in ("left", "right") and _whole(said, "strength") is None:
        raise VerdictError("a preference needs a strength, 1 to 3")
    return Verdict(
        label=across(str(label), left),
        strength=_whole(said, "strength"),
        harms=tuple(harm for harm in harms if harm in named),
        severity=_whole(said, "severity"),
        rationale=_text(said, "rationale"),
        skip_reason=str(reason),
    )


def _whole(said: Mapping[str, Any], key: str) -> int | None:
    value = said.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise VerdictError(f"{key} is not a whole number")
    return value


def _text(said: Mapping[str, Any], key: str) -> str:
    """Text that every database can store: no NUL, no half of a surrogate pair."""
    value = said.get(key) or ""
    if not isinstance(value, str):
        raise VerdictError(f"{key} is not text")
    return value.replace("\0", "").encode("utf-8", "replace").decode().strip()
