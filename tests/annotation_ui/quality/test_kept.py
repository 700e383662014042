"""Figures that take long are kept for a while and renewed in the background; others are always those of now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import Any

import pytest
from annotating import NOW
from kinds import fill_kind, rank

from annotation_ui.quality import kept
from annotation_ui.store.accounts import set_password
from annotation_ui.store.database import Database
from annotation_ui.store.privacy import forget
from annotation_ui.store.projects import find_project

Ask = Callable[[float], tuple[str, float]]


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class _Place:
    """A database, a session and a project at once, as far as the figures are kept by them."""

    id = 7

    @contextmanager
    def read(self) -> Iterator[Any]:
        yield self

    def get_one(self, table: Any, number: int) -> Any:
        assert number == self.id
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(kept, "monotonic", made)
    monkeypatch.setattr(kept, "_KEPT", {})
    monkeypatch.setattr(kept, "_COMPUTING", {})
    monkeypatch.setattr(kept, "_has_names_in_use", lambda session, figures: True)
    return made


@pytest.fixture
def figures_that_take(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Ask]:
    def taking(seconds: float) -> Ask:
        computed: list[str] = []

        def figures_of(session: Any, project: Any, *, now: float) -> Any:
            clock.now += seconds
            computed.append(f"figures {len(computed)}")
            return computed[-1], now

        monkeypatch.setattr(kept, "figures_of", figures_of)
        place: Any = _Place()
        return lambda now: kept.recent_figures(place, place, place, now=now)  # type: ignore[return-value]

    return taking


def renewed() -> None:
    """Wait for the computation in the background."""
    for thread in threading.enumerate():
        if getattr(thread, "_target", None) is kept._renew:
            thread.join(10)
            assert not thread.is_alive()


def test_fast_figures_are_those_of_now(figures_that_take: Callable[[float], Ask]) -> None:
    ask = figures_that_take(0.9)
    assert [ask(1000.0), ask(2000.0)] == [("figures 0", 1000.0), ("figures 1", 2000.0)]


def test_slow_figures_are_kept_for_twenty_times_as_long_as_they_took(
    clock: _Clock, figures_that_take: Callable[[float], Ask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept.time, "time", lambda: 2500.0)
    ask = figures_that_take(2.0)
    assert ask(1000.0) == ("figures 0", 1000.0)
    clock.now += 39.9
    assert ask(2000.0) == ("figures 0", 1000.0)
    renewed()
    assert ask(2000.0) == ("figures 0", 1000.0)  # not even in the background
    clock.now += 0.2
    assert ask(3000.0) == ("figures 0", 1000.0)  # the kept figures, while the new ones are computed
    renewed()
    assert ask(3000.0) == ("figures 1", 2500.0)
    clock.now += kept.OLDEST
    assert ask(9000.0) == ("figures 2", 9000.0)  # those of an hour ago are not shown


def test_several_pages_at_once_compute_the_figures_once(
    figures_that_take: Callable[[float], Ask], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = figures_that_take(2.0)
    slowly = kept.figures_of

    def slower(session: Any, project: Any, *, now: float) -> Any:
        sleep(0.1)  # the other pages ask meanwhile
        return slowly(session, project, now=now)

    monkeypatch.setattr(kept, "figures_of", slower)
    found: list[Any] = []
    pages = [threading.Thread(target=lambda: found.append(ask(1000.0))) for _ in range(3)]
    for page in pages:
        page.start()
    for page in pages:
        page.join(10)
    assert found == [("figures 0", 1000.0)] * 3


def test_a_failure_in_the_background_leaves_the_old_figures(
    clock: _Clock,
    figures_that_take: Callable[[float], Ask],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ask = figures_that_take(2.0)
    assert ask(1000.0) == ("figures 0", 1000.0)

    def fail(session: Any, project: Any, *, now: float) -> Any:
        raise OSError("the database is away")

    monkeypatch.setattr(kept, "figures_of", fail)
    clock.now += 100
    assert ask(2000.0) == ("figures 0", 1000.0)
    renewed()
    assert "the database is away" in caplog.text
    assert ask(3000.0) == ("figures 0", 1000.0)


def test_figures_with_a_name_that_was_removed_are_not_shown(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT", {})
    monkeypatch.setattr(kept, "SLOW", 0.0)  # any figures are kept
    monkeypatch.setattr(kept, "REST", 1e9)  # and not renewed here
    fill_kind(sqlite, "ranking")
    with sqlite.write() as session:
        set_password(session, "root", "a long password", now=NOW)
    rank(sqlite, "ann", "abc")

    def names() -> list[str]:
        with sqlite.read() as session:
            figures = kept.recent_figures(sqlite, session, find_project(session, "p"), now=NOW)
        return [person.name for person in figures.quality.people]

    assert names() == ["ann"]
    rank(sqlite, "bob", "abc")
    assert names() == ["ann"]  # those that were kept
    with sqlite.write() as session:
        pseudonym = forget(session, "ann", by="root", now=NOW)
    assert sorted(names()) == sorted(["bob", pseudonym])
