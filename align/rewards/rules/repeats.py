"""Shares of a text that occurred before in it: of n-grams, of runs of characters, of windows of words.

Every place of a text gets the number of what stands there. Runs of 2, 4, 8, … units are numbered by the numbers of
their two halves (Karp, Miller & Rosenberg, 1972), so that time and memory grow with the text, and not with the length
of the runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import regex

NUMBER = regex.compile(r"\p{N}+")
PIECE, WINDOW = 6, 60  # words of a piece and of a window
# Share of a window that lies in pieces seen before; also in pieces with one changed word, which derivations have too.
COVERED, NEARLY_ALL = 0.8, 0.95
FEW = 3  # units other than numbers, in an n-gram that only counts


def numbered(units: Sequence[str]) -> np.ndarray:
    """Equal numbers for equal units, ``[len(units)]``."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(unit, len(numbers)) for unit in units], dtype=np.int64)


def are_numbers(units: Sequence[str]) -> np.ndarray:
    """True for the units of digits only, ``[len(units)]``."""
    found = {unit: NUMBER.fullmatch(unit) is not None for unit in set(units)}
    return np.array([found[unit] for unit in units], dtype=bool)


def characters(text: str) -> np.ndarray:
    """The code points, ``[len(text)]``."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)


def repeated_share(units: np.ndarray, length: int) -> float:
    """The share of runs of ``length`` units that occurred before."""
    return _share(_runs(units, length))


def repeated_share_of_counting(units: np.ndarray, is_number: np.ndarray, length: int) -> float:
    """The same, where runs that only count are alike: at most :data:`FEW` different units besides their numbers."""
    if len(units) < length:
        return 0.0
    counts = _different(units, ~is_number, length) <= FEW
    without = _runs(np.where(is_number, -1, units), length)
    # a run that counts has few different units, so that it is equal to no run that does not
    return _share(np.where(counts, without, _runs(units, length) + len(units)))


def covered_share(units: np.ndarray, *, one_changed: bool = False) -> float:
    """The share of windows that consist, but for a fifth of their words, of pieces that occurred before.

    The first windows, which have less than their own length in front of them, are none of these.

    Args:
        one_changed: one of the inner words of a piece may have been another one before. Of the window's words only a
            twentieth may then be in no such piece.
    """
    if len(units) < 2 * WINDOW:
        return 0.0
    pieces = _runs(units, PIECE)
    repeated = _occurred_before(pieces)
    if one_changed:
        for place in range(1, PIECE - 1):  # of the changed word
            before, behind = _runs(units, place), _runs(units, PIECE - 1 - place)
            repeated |= _occurred_before(_numbers_of_pairs(before[: len(pieces)], behind[place + 1 :]))
    covered = np.zeros(len(units), dtype=bool)
    for place in range(PIECE):
        covered[place : place + len(pieces)] |= repeated
    sums = np.concatenate([[0], np.cumsum(covered)])
    inside = sums[WINDOW:] - sums[:-WINDOW]
    needed = (NEARLY_ALL if one_changed else COVERED) * WINDOW
    return int((inside[WINDOW:] >= needed).sum()) / len(inside)


def _share(runs: np.ndarray) -> float:
    return 1.0 - len(np.unique(runs)) / len(runs) if len(runs) else 0.0


def _runs(units: np.ndarray, length: int) -> np.ndarray:
    """The number of the run of ``length`` units that begins at each place where one fits: equal for equal runs."""
    if len(units) < length:
        return units[:0]
    runs, known = np.unique(units, return_inverse=True)[1], 1
    while known < length:
        step = min(known, length - known)
        runs = _numbers_of_pairs(runs[:-step], runs[step:])
        known += step
    return runs


def _numbers_of_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers from 0 on of pairs of numbers that are below 2**31."""
    return np.unique(first << 32 | second, return_inverse=True)[1]


def _occurred_before(runs: np.ndarray) -> np.ndarray:
    """True for the places whose run occurs at an earlier one."""
    _, first, inverse = np.unique(runs, return_index=True, return_inverse=True)
    return first[inverse] < np.arange(len(runs))


def _different(units: np.ndarray, counted: np.ndarray, length: int) -> np.ndarray:
    """The number of different units in every run, of those that are ``counted``."""
    order = np.argsort(units, kind="stable")
    previous = np.full(len(units), -1)
    same = units[order[1:]] == units[order[:-1]]
    previous[order[1:][same]] = order[:-1][same]
    starts = np.arange(len(units) - length + 1)
    found = np.zeros(len(starts), dtype=np.int64)
    for place in range(length):  # a unit counts where it stands for the first time in the run
        inside = slice(place, place + len(starts))
        found += counted[inside] & (previous[inside] < starts)
    return found
