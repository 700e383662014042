"""A constraint with responses that keep and break it, and texts of several cases."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    """A constraint with its values, and responses."""

    id: str
    values: dict[str, Any]
    keeps: list[str]
    breaks: list[str]


ZERO = "\u200b"  # zero-width space
ENGLISH = "the old lighthouse stands on a cliff above the sea and its keeper lights the lamp every evening"
SPANISH = "El viejo faro está en un acantilado sobre el mar y su guardián enciende la lámpara todas las noches."
TWO = "One way is to walk to the old mill.\n******\nAnother way is to take the bus."
PALINDROMES = "level radar civic rotor kayak refer madam tenet stats solos"
