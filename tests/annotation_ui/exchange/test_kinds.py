"""Ratings and rankings from import to the records that the trainers read."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from annotating import NOW, SKIP, judge
from kinds import ATTRIBUTES, PLAIN, fill_kind, rank, rate, texts

from annotation_ui.exchange.exporting import Export, ExportRule, export, snapshot
from annotation_ui.exchange.importing import NewProject, import_items, to_candidate
from annotation_ui.exchange.votes import votes_of
from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form
from annotation_ui.store.projects import ProjectError, Settings, find_project
from annotation_ui.store.verdicts import VerdictError
from reward_models.data.formats import to_record
from reward_models.data.records import Rated, RecordError
from reward_models.data.sources import load

TWO_VOTES = Settings(votes_per_item=2, gold_rate=0, repeat_rate=0, eval_fraction=0)


def exported(database: Database, rule: ExportRule | None = None) -> Export:
    with database.write() as session:
        project = find_project(session, "p")
        name = snapshot(session, project, None, author="root", now=NOW).name
        return export(session, project, name, rule)


def pairs(rows: list[dict[str, Any]]) -> dict[str, float]:
    """``a>b`` → margin, by the letters of the responses."""
    return {f"{r['chosen'][0]['content'][0]}>{r['rejected'][0]['content'][0]}": r["margin"] for r in rows}


def test_ratings_become_records_for_attribute_heads(database: Database) -> None:
    fill_kind(database, "attributes", items=1, responses=2, settings=TWO_VOTES)
    rate(database, "ann", {"a": [4, 4, 3, 1, 2], "b": [0, 1, 3, 2, 4]})
    rate(database, "bob", {"a": [3, 4, 3, 2, 2], "b": [0, 2, 3, 2, 4]})
    rows = exported(database).rows["train"]
    records = [to_record(row, "rated") for row in rows]
    assert all(isinstance(record, Rated) for record in records)
    by_text = {r.response[0].content: r.ratings for r in records if isinstance(r, Rated)}
    assert by_text == {"a0": (3.5, 4.0, 3.0, 1.5, 2.0), "b0": (0.0, 1.5, 3.0, 2.0, 4.0)}
    assert {row["id"] for row in rows} == {"0:a", "0:b"}
    assert {row["votes"] for row in rows} == {2}
    assert [record.prompt[0].content for record in records] == ["question 0"] * 2


def test_too_few_votes_and_skips_are_counted(database: Database) -> None:
    fill_kind(database, "attributes", items=2, responses=1, settings=TWO_VOTES)
    rate(database, "ann", {"a": [4, 4, 3, 1, 2]})
    judge(database, "ann", SKIP)
    found = exported(database)
    assert found.rows["train"] == []
    assert found.counts == {"too few votes": 1, "skipped by all": 1}


def test_a_ranking_becomes_all_its_decided_pairs(database: Database) -> None:
    fill_kind(database, "ranking", items=2, responses=4)
    orders = {rank(database, "ann", "ca=bd"): "ca=bd", rank(database, "ann", "abcd"): "abcd"}
    rows = exported(database).rows["train"]
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt"][0]["content"], []).append(row)
    for prompt, of_item in by_prompt.items():
        if orders[prompt] == "ca=bd":  # ranks c 1, a 2, b 2, d 3: five pairs, a and b are equal
            assert pairs(of_item) == {"c>a": 1, "c>b": 1, "c>d": 2, "a>d": 1, "b>d": 1}
        else:
            assert pairs(of_item) == {f"{x}>{y}": ord(y) - ord(x) for x, y in combinations("abcd", 2)}
        assert sum(row["weight"] for row in of_item) == pytest.approx(1.0)  # an item counts once
        assert len({row["id"] for row in of_item}) == len(of_item)
    kept = exported(database, ExportRule(ties="keep")).rows["train"]
    assert len(kept) == 12
    assert sum(row["margin"] == 0 for row in kept) == 1


def test_a_majority_decides_every_pair_by_itself(database: Database) -> None:
    fill_kind(
        database, "ranking", items=1, responses=3, settings=Settings(votes_per_item=3, gold_rate=0, repeat_rate=0)
    )
    for who, order in (("ann", "abc"), ("bob", "acb"), ("cyd", "cab")):
        rank(database, who, order)
    [*rows] = exported(database).rows["train"] or exported(database).rows["eval"]
    # a before b: 3 of 3, by 1, 2, 1; a before c: 2 of 3, by 2, 1; c before b: 2 of 3, by 1, 2
    assert pairs(rows) == {"a>b": pytest.approx(4 / 3), "a>c": 1.5, "c>b": 1.5}
    assert {round(row["agreement"], 3) for row in rows} == {1.0, 0.667}
    most = exported(database, ExportRule(min_agreement=0.9))
    assert [*map(len, most.rows.values())] in ([1, 0], [0, 1])


def test_plackett_and_luce_give_an_order_where_majorities_run_in_a_circle(database: Database) -> None:
    settings = Settings(votes_per_item=3, gold_rate=0, repeat_rate=0, eval_fraction=0)
    fill_kind(database, "ranking", items=1, responses=3, settings=settings)
    for who, order in (("ann", "abc"), ("bob", "bca"), ("cyd", "cab")):
        rank(database, who, order)
    assert set(pairs(exported(database).rows["train"])) == {"a>b", "b>c", "c>a"}
    even = exported(database, ExportRule(aggregate="plackett_luce"))
    assert (even.rows["train"], even.counts) == ([], {"no pair decided": 1})


def test_margins_of_plackett_and_luce_are_differences_of_log_worths(sqlite: Database) -> None:
    settings = Settings(votes_per_item=3, gold_rate=0, repeat_rate=0, eval_fraction=0)
    fill_kind(sqlite, "ranking", items=1, responses=3, settings=settings)
    for who, order in (("ann", "abc"), ("bob", "acb"), ("cyd", "bac")):
        rank(sqlite, who, order)
    found = pairs(exported(sqlite, ExportRule(aggregate="plackett_luce")).rows["train"])
    assert set(found) == {"a>b", "a>c", "b>c"}
    assert found["a>b"] + found["b>c"] == pytest.approx(found["a>c"])


def test_dawid_and_skene_trust_the_better_annotator(sqlite: Database) -> None:
    """Two against one on the last item; the two contradict each other everywhere else, the one agrees with a fourth."""
    people = ("ann", "bob", "cyd", "dan")
    settings = Settings(votes_per_item=4, gold_rate=0, repeat_rate=0, eval_fraction=0)
    fill_kind(sqlite, "ranking", items=12, responses=3, settings=settings, people=people)
    noise = ("cba", "bca", "cab", "bac")
    for n in range(12):
        for who in people:
            rank(sqlite, who, "abc" if who in ("ann", "dan") else noise[(n + (who == "cyd")) % 4])
    rows = exported(sqlite, ExportRule(aggregate="dawid_skene")).rows["train"]
    assert len(rows) == 36
    assert set(pairs(rows)) == {"a>b", "a>c", "b>c"}


def test_a_rule_that_does_not_fit_the_kind_is_refused(sqlite: Database) -> None:
    fill_kind(sqlite, "attributes", items=1, responses=1)
    rate(sqlite, "ann", {"a": [4, 4, 3, 1, 2]})
    for rule in (
        ExportRule(aggregate="plackett_luce"),
        ExportRule(aggregate="dawid_skene"),
        ExportRule(min_agreement=0.5),
    ):
        with pytest.raises(ProjectError, match=r"projects|share"):
            exported(sqlite, rule)


def test_every_vote_can_be_taken_out(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1, responses=3)
    rank(sqlite, "ann", "ca=b")
    with sqlite.read() as session:
        [row] = votes_of(session, find_project(session, "p"))
    assert row["ranks"] == {"a": 2, "b": 2, "c": 1}
    assert (row["choice"], sorted(row["shown_left"])) == ("ranked", ["a", "b", "c"])
    assert row["response_c"] == [{"role": "assistant", "content": "c0"}]
    json.dumps(row)


def test_a_snapshot_tells_rankings_apart(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1, responses=3, settings=TWO_VOTES)
    rank(sqlite, "ann", "abc")
    with sqlite.write() as session:
        one = snapshot(session, find_project(session, "p"), None, author="root", now=NOW).digest
    rank(sqlite, "bob", "cba")
    with sqlite.write() as session:
        assert snapshot(session, find_project(session, "p"), None, author="root", now=NOW).digest != one


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"prompt": "q", "responses": ["one", "two"]}, [("one", None), ("two", None)]),
        ({"prompt": "q", "responses": ["one", "two"], "models": ["x", "y"]}, [("one", "x"), ("two", "y")]),
        (
            {
                "prompt": "q",
                "responses": [{"response": "one", "model": "x"}, [{"role": "assistant", "content": "two"}]],
            },
            [("one", "x"), ("two", None)],
        ),
        (
            {"instruction": "q", "completions": [{"response": "one", "model": "x"}, {"response": "two", "model": "y"}]},
            [("one", "x"), ("two", "y")],
        ),
        (
            {"prompt": "q", "response_a": "one", "response_b": "two", "model_b": "y"},
            [("one", None), ("two", "y")],
        ),
        ({"prompt": "q", "chosen": "one", "rejected": "two"}, [("one", None), ("two", None)]),
    ],
)
def test_rows_of_many_layouts_are_ranking_items(row: dict[str, Any], found: list[tuple[str, str | None]]) -> None:
    made = to_candidate(row, "ranking", id="1", source="x")
    assert [(r[0].content, m) for r, m in zip(made.responses, made.models, strict=True)] == found
    assert made.prompt[0].content == "q"


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        ("ranking", {"prompt": "q", "responses": ["one"]}, "1 responses; an item of a ranking project has 2 to 8"),
        ("ranking", {"prompt": "q", "responses": [str(n) for n in range(9)]}, "9 responses"),
        ("ranking", {"prompt": "q", "responses": ["one", "one"]}, "identical"),
        ("ranking", {"prompt": "q", "responses": "one"}, "not a list"),
        ("ranking", {"prompt": "q", "responses": ["one", "two"], "models": ["x"]}, "models"),
        ("ranking", {"prompt": "q", "responses": ["one", "two"], "annotations": []}, "annotations"),
        ("attributes", {"prompt": "q"}, "no response"),
        ("attributes", {"prompt": "q", "response": "a\0b"}, "NUL"),
    ],
)
def test_rows_that_are_no_items_are_refused(kind: Any, row: dict[str, Any], says: str) -> None:
    with pytest.raises(RecordError, match=says):
        to_candidate(row, kind, id="1", source="x")


def test_a_group_of_rl_samples_is_a_ranking_item(sqlite: Database, tmp_path: Path) -> None:
    """The most disputed group first; of more than eight the least disputed are left out; copies count once."""
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [
        {"prompt": "calm", "response": f"calm {n}", "terms": {"x": float(n), "y": float(n)}, "step": 1}
        for n in range(3)
    ]
    lines += [
        {"prompt": "hot", "response": f"hot {n}", "terms": {"x": float(n), "y": float(9 - n)}, "step": 2}
        for n in range(10)
    ]
    lines += [{"prompt": "hot", "response": "hot 0", "terms": {"x": 0.0, "y": 9.0}, "step": 2}]
    lines += [{"prompt": "alone", "response": "alone", "terms": {"x": 1.0, "y": 1.0}, "step": 3}]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    new = NewProject(kind="ranking", settings=PLAIN)
    done = import_items(sqlite, "rl", [str(folder / "samples.jsonl")], new=new, author="root", now=NOW)
    assert (done.added.items, done.bad) == (2, [])
    with sqlite.read() as session:
        items = sorted(find_items(session), key=lambda item: item.rank)
        assert [item.prompt[0]["content"] for item in items] == ["hot", "calm"]
        assert [len(item.responses) for item in items] == [8, 3]
        # the middle of ten is least in dispute with the others
        assert {r.messages[0]["content"] for r in items[0].responses} == {f"hot {n}" for n in range(10)} - {
            "hot 4",
            "hot 5",
        }
        assert {r.model for r in items[0].responses} == {"step 2"}


def test_ratings_beside_a_comparison_give_both(sqlite: Database, installed: Path) -> None:
    form = Form(attributes={"helpfulness": ""}, comparison=True)
    fill_kind(sqlite, "attributes", items=1, responses=3, form=form)
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    letters = [text[0] for text in texts(task)]
    said: dict[str, Any] = {"label": "rated", "ratings": [{"helpfulness": "abc".index(x)} for x in letters]}
    with pytest.raises(VerdictError, match="ranks"):
        annotating.vote(sqlite, "ann", "p", task.token, said, now=NOW)
    said["ranks"] = ["abc".index(x) + 1 for x in letters]
    annotating.vote(sqlite, "ann", "p", task.token, said, now=NOW)
    [past] = annotating.history(sqlite, "ann", "p")
    shown = annotating.past_task(sqlite, "ann", "p", past.judgement).said
    assert shown is not None
    assert (shown["ranks"], shown["ratings"]) == (said["ranks"], said["ratings"])
    with sqlite.write() as session:
        snapshot(session, find_project(session, "p"), "s1", author="root", now=NOW)
    source = f"annotations://{sqlite.public_name}#p@s1"
    assert len(load([source], "rated").records) == 3
    assert [record.weight for record in load([f"{source}:pairs"], "comparison").records] == pytest.approx([1 / 3] * 3)
    assert set(pairs(exported(sqlite, ExportRule(pairs=True)).rows["train"])) == {"a>b", "a>c", "b>c"}


def test_a_text_has_no_known_answer(sqlite: Database, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "q", "response": "one"}) + "\n")
    new = NewProject(kind="rewrite", settings=PLAIN)
    with pytest.raises(ProjectError, match="no known answers"):
        import_items(sqlite, "x", [str(file)], new=new, gold=True, author="root", now=NOW)


def find_items(session: Any) -> list[Any]:
    from sqlalchemy import select

    from annotation_ui.store.tables import Item

    return list(session.scalars(select(Item)))


def test_the_layout_of_helpsteer_is_what_is_written(sqlite: Database) -> None:
    fill_kind(sqlite, "attributes", items=1, responses=1)
    rate(sqlite, "ann", {"a": [4, 4, 3, 1, 2]})
    [row] = exported(sqlite).rows["train"]
    assert [row[name] for name in ATTRIBUTES] == [4, 4, 3, 1, 2]
    assert all(math.isfinite(row[name]) for name in ATTRIBUTES)


def test_preference_models_read_a_snapshot_of_rankings(sqlite: Database, installed: Path) -> None:
    fill_kind(sqlite, "ranking", items=2, responses=4)
    for order in ("abcd", "a=b=cd"):
        rank(sqlite, "ann", order)
    with sqlite.write() as session:
        snapshot(session, find_project(session, "p"), "s1", author="root", now=NOW)
    loaded = load([f"annotations://{sqlite.public_name}#p@s1"], "comparison")
    assert sorted(record.weight for record in loaded.records) == pytest.approx([1 / 6] * 6 + [1 / 3] * 3)
    assert {record.strength for record in loaded.records} == {1, 2, 3}
    assert loaded.bad == []


def test_attribute_heads_read_a_snapshot(sqlite: Database, installed: Path) -> None:
    fill_kind(sqlite, "attributes", items=3, responses=2)
    for _ in range(3):
        rate(sqlite, "ann", {"a": [4, 4, 3, 1, 2], "b": [0, 1, 2, 3, 4]})
    with sqlite.write() as session:
        snapshot(session, find_project(session, "p"), "s1", author="root", now=NOW)
    loaded = load([f"annotations://{sqlite.public_name}#p@s1"], "rated")
    assert sorted({record.ratings for record in loaded.records}) == [(0, 1, 2, 3, 4), (4, 4, 3, 1, 2)]
    assert (len(loaded.records), loaded.bad) == (6, [])
