"""Text with slots that can be filled and read back.

One template both writes a prompt and parses it, so the gold judge needs nothing but the prompt's text and cannot drift
from the generator.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Slots = dict[str, str]

_SLOT = re.compile(r"\{(\w+)\}")


def normalise(text: str) -> str:
    """The key by which prompts are the same: words and digits in order, without case, spacing and punctuation."""
    return " ".join(re.findall(r"[^\W_]+|[-+*]", text.lower()))


def split_of(prompt: str) -> str:
    """The split a prompt belongs to, a function of its normalised text alone: about one prompt in ten is ``test``."""
    digest = hashlib.sha256(normalise(prompt).encode("utf-8")).digest()
    return "test" if int.from_bytes(digest[:4], "big") % 10 == 0 else "train"


def _slot_pattern(name: str) -> str:
    if len(name) == 1:
        return r"[0-9]{1,9}"
    if name.endswith("list"):
        return r"\w+(?:, \w+)*"
    if name.endswith("act"):
        return r"[\w ]+?"
    return r"[^\W\d_]+?"


@dataclass(frozen=True)
class Template:
    """A sentence with ``{slots}``. A one-letter slot holds a whole number, ``…list`` words joined by ``", "``, ``…act``
    a phrase, any other a single word."""

    text: str
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pattern, end, seen = "", 0, set()
        for slot in _SLOT.finditer(self.text):
            pattern += re.escape(self.text[end : slot.start()])
            name = slot.group(1)
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{_slot_pattern(name)})"
            seen.add(name)
            end = slot.end()
        object.__setattr__(self, "_pattern", re.compile(pattern + re.escape(self.text[end:])))

    def fill(self, slots: Slots) -> str:
        """The sentence with every slot replaced; slots the template lacks are ignored."""
        return self.text.format(**slots)

    def parse(self, text: str) -> Slots | None:
        """The slots that would have produced ``text``, or ``None``."""
        match = self._pattern.fullmatch(text)
        return match.groupdict() if match else None


@dataclass(frozen=True)
class Task:
    """A prompt as its family and slots: all that is needed to write it, to answer it and to judge an answer."""

    family: str
    slots: Slots
    prompt: str


def read_task(families: Mapping[str, Sequence[Template]], prompt: str) -> Task | None:
    """The task behind a prompt, or ``None`` if no template of any family wrote it."""
    text = " ".join(prompt.split())
    for family, templates in families.items():
        for template in templates:
            slots = template.parse(text)
            if slots is not None:
                return Task(family, slots, text)
    return None
