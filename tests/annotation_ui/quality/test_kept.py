"""Figures that take long are kept for a while; others are always those of now."""

from __future__ import annotations

from typing import Any

import pytest

from annotation_ui.quality import kept


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class _Place:
    """A session and a project at once, as far as the figures are kept by them."""

    id = 7
    engine = property(lambda self: self)
    url = "sqlite:///a"

    def connection(self) -> Any:
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(kept, "monotonic", made)
    monkeypatch.setattr(kept, "_KEPT", {})
    return made


@pytest.mark.parametrize(("takes", "until"), [(0.9, 0.0), (2.0, 40.0)])
def test_figures_are_kept_for_twenty_times_as_long_as_they_took(
    takes: float, until: float, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []

    def quality(session: Any, project: Any) -> Any:
        clock.now += takes
        computed.append(f"figures {len(computed)}")
        return computed[-1]

    monkeypatch.setattr(kept, "quality", quality)
    place: Any = _Place()
    assert kept.recent_quality(place, place, now=1000.0) == ("figures 0", 1000.0)
    clock.now += max(until - 0.1, 0)
    again = kept.recent_quality(place, place, now=2000.0)
    assert again == (("figures 0", 1000.0) if until else ("figures 1", 2000.0))
    clock.now += 0.2
    assert kept.recent_quality(place, place, now=3000.0) == (f"figures {len(computed) - 1}", 3000.0)
    assert len(computed) == (2 if until else 3)
