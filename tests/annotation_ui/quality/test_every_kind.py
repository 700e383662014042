"""The agreement that the dashboard shows of every kind, against α computed pair by pair from the votes themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import Any

import pytest
from annotating import NOW
from kinds import ATTRIBUTES, PLAIN, fill_kind, row, texts

from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.screens import Task
from annotation_ui.quality.payloads import ORDER
from annotation_ui.quality.spans import ANY, Marking, span_agreement
from annotation_ui.quality.statistics import Quality, quality
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form
from annotation_ui.store.projects import find_project

PEOPLE = ("ann", "bob", "cyd", "dan")
ITEMS = 14
Units = dict[Hashable, list[Any]]  # unit → the answers of all who judged it


def alpha(units: Units, distance: Callable[[Any, Any, Counter[Any]], float] | None = None) -> float:
    """Krippendorff's α as its definition has it: the mean distance of two answers to one unit, over that of any two."""
    far = distance or (lambda one, other, counts: float(one != other))
    judged = [answers for answers in units.values() if len(answers) > 1]
    counts = Counter(answer for answers in judged for answer in answers)
    n = sum(counts.values())
    observed = sum(
        far(answers[i], answers[j], counts) / (len(answers) - 1)
        for answers in judged
        for i in range(len(answers))
        for j in range(len(answers))
        if i != j
    )
    expected = sum(counts[a] * counts[b] * far(a, b, counts) for a in counts for b in counts) / (n - 1)
    return 1 - observed / expected


def ordinal(one: int, other: int, counts: Counter[Any]) -> float:
    """The answers between two, each end counting by half, squared."""
    low, high = sorted((one, other))
    between = sum(counts[value] for value in range(low, high + 1))
    return float((between - (counts[low] + counts[high]) / 2) ** 2)


def collect(database: Database, answer: Callable[[Task, Random], dict[str, Any]]) -> Quality:
    """Everybody judges most items; a seeded draw gives the answers. The figures of the dashboard."""
    draw = Random(3)
    for who in PEOPLE:
        while (task := annotating.next_task(database, who, "p", now=NOW)) is not None:
            skip = {"label": "skip", "skip_reason": "I cannot tell"}
            said = skip if draw.random() < 0.2 else answer(task, draw)
            annotating.vote(database, who, "p", task.token, said, dwell_ms=9000, now=NOW)
    with database.read() as session:
        return quality(session, find_project(session, "p"))


EVERYBODY = replace(PLAIN, votes_per_item=len(PEOPLE))


def test_ratings(sqlite: Database) -> None:
    fill_kind(sqlite, "attributes", items=ITEMS, responses=2, settings=EVERYBODY, people=PEOPLE)
    units: dict[str, Units] = {name: defaultdict(list) for name in ATTRIBUTES}

    def answer(task: Task, draw: Random) -> dict[str, Any]:
        ratings = []
        for text in texts(task):
            base = int(text[1:]) % 5
            given = {name: min(4, max(0, base + draw.choice((-1, 0, 0, 1)))) for name in ATTRIBUTES}
            for name, rating in given.items():
                units[name][text].append(rating)
            ratings.append(given)
        return {"label": "rated", "ratings": ratings}

    found = {each.name: each for each in collect(sqlite, answer).questions}
    for name in ATTRIBUTES:
        assert found[name].alpha == pytest.approx(alpha(units[name], ordinal))
        assert found[name].units == sum(len(answers) > 1 for answers in units[name].values())
        interval = found[name].interval
        assert interval is not None
        assert interval[0] < found[name].alpha < interval[1]  # type: ignore[operator]


def test_rankings_and_turns(sqlite: Database) -> None:
    rows = [
        row(n, 3) | {"prompt": [*({"role": role, "content": f"{role} {n}"} for role in ("user", "assistant", "user"))]}
        for n in range(ITEMS)
    ]
    fill_kind(sqlite, "ranking", rows=rows, settings=EVERYBODY, people=PEOPLE, form=Form(turns=("good", "bad")))
    orders: Units = defaultdict(list)
    turns: Units = defaultdict(list)

    def answer(task: Task, draw: Random) -> dict[str, Any]:
        shown = texts(task)
        ranks = draw.choice(([1, 2, 3], [1, 1, 2], [3, 2, 1], [2, 1, 3]))
        places = dict(zip(shown, sorted(ranks) if draw.random() < 0.5 else ranks, strict=True))
        for one, other in combinations(sorted(shown), 2):
            orders[one, other].append((places[one] > places[other]) - (places[one] < places[other]))
        said = draw.choice(("good", "good", "bad"))
        turns[shown[0][1:]].append(said)
        # Ranks that leave a number out are closed up, which changes no order.
        return {"label": "ranked", "ranks": [places[text] for text in shown], "turns": {"1": said}}

    found = {each.name: each for each in collect(sqlite, answer).questions}
    assert found[ORDER].alpha == pytest.approx(alpha(orders))
    assert found["assistant turns"].alpha == pytest.approx(alpha(turns))
    assert dict(found["assistant turns"].shares) == Counter(said for given in turns.values() for said in given)


@pytest.mark.parametrize("kind", ["preference", "safety"])
def test_labels(sqlite: Database, kind: Any) -> None:
    numbered = [
        {"id": str(n), "prompt": "q", "response_a": f"a{n}", "response_b": f"b{n}", "label": "tie"}
        if kind == "preference"
        else {"id": str(n), "prompt": "q", "response": f"a{n}"}
        for n in range(ITEMS)
    ]
    fill_kind(sqlite, kind, rows=numbered, settings=EVERYBODY, people=PEOPLE)
    units: Units = defaultdict(list)

    def answer(task: Task, draw: Random) -> dict[str, Any]:
        number = texts(task)[0][1:]
        if kind == "safety":
            label = draw.choice(("safe", "safe", "unsafe"))
            units[number].append(label)
            return {"label": label, "harms": [task.harms[0]] if label == "unsafe" else []}
        label = draw.choice(("left", "right", "tie", "both_bad"))
        better = {"left": 0, "right": 1}.get(label)
        units[number].append(label if better is None else texts(task)[better][0])
        return {"label": label} | ({} if better is None else {"strength": 2})

    assert collect(sqlite, answer).alpha.value == pytest.approx(alpha(units))


def test_marked_passages(sqlite: Database) -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    rows = [{"id": str(n), "prompt": "q", "response": f"{n} {' '.join(words)}"} for n in range(ITEMS)]
    labels = ("error", "unsafe")
    form = Form(attributes={"tone": ""}, spans=labels)
    fill_kind(sqlite, "attributes", rows=rows, settings=EVERYBODY, people=PEOPLE, form=form)
    units: dict[str, Units] = {label: defaultdict(list) for label in (*labels, ANY)}

    def answer(task: Task, draw: Random) -> dict[str, Any]:
        text = texts(task)[0]
        number = text.split()[0]
        spans, marked = [], defaultdict(set)
        for label in labels:
            if draw.random() < 0.6:
                first = draw.randrange(3)
                last = draw.randrange(first, len(words))
                start = text.index(words[first]) + draw.randrange(2)  # from within the word, which then counts
                end = text.index(words[last]) + len(words[last])
                spans.append({"start": start, "end": end, "text": text[start:end], "label": label, "note": ""})
                marked[label] |= set(range(first + 1, last + 2))
        for place in range(len(words) + 1):
            for label in labels:
                units[label][number, place].append(place in marked[label])
            units[ANY][number, place].append(any(place in marked[label] for label in labels))
        return {"label": "rated", "ratings": [{"tone": 1}], "spans": [spans]}

    found = {each.label: each for each in collect(sqlite, answer).spans}
    assert list(found) == [*labels, ANY]
    for label, each in found.items():
        assert each.alpha == pytest.approx(alpha(units[label]))
        assert each.words == sum(len(answers) > 1 for answers in units[label].values())
        assert each.marked == sum(any(answers) for answers in units[label].values() if len(answers) > 1)
        assert each.interval is not None


def marking(item: int, *spans: tuple[int, int], labels: Sequence[str] = ("x",), text: str = "aa bb cc dd") -> Marking:
    marks = [{"start": start, "end": end, "label": "x"} for start, end in spans]
    return Marking(item=item, texts={"a": text}, spans={"a": marks}, labels=tuple(labels))


def test_spans_by_hand() -> None:
    """Four words; one person marks the first two, the other the second and third: two of four words agree.

    The margins are 4 marked and 4 unmarked of 8: D_o = 4/8, D_e = 2·4·4/(8·7) = 4/7, α = 1 − (1/2)/(4/7) = 1/8.
    """
    [found] = span_agreement([marking(1, (0, 5)), marking(1, (3, 8))])
    assert found.alpha == pytest.approx(1 / 8)
    assert (found.words, found.marked, found.interval) == (4, 3, None)


def test_spans_that_say_nothing() -> None:
    assert span_agreement([]) == []
    [alone] = span_agreement([marking(1, (0, 5)), marking(2, (0, 5))])  # nobody to agree with
    assert (alone.alpha, alone.words) == (None, 0)
    [unmarked] = span_agreement([marking(1), marking(1)])  # no variation to agree on
    assert unmarked.alpha is None
    [empty] = span_agreement([marking(1, text=""), marking(1, text="")])
    assert (empty.alpha, empty.words) == (None, 0)
    by_label = {each.label: each.words for each in span_agreement([marking(1, labels=("x", "y")), marking(1)])}
    assert by_label == {"x": 4, "y": 0, ANY: 4}  # y was asked of one person only
