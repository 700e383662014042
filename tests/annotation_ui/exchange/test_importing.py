"""Rows and votes become items and judgements."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from annotation_ui.exchange.importing import import_items
from annotation_ui.store.database import Database
from annotation_ui.store.identities import sign_in, unlink
from annotation_ui.store.projects import Settings, create_project, has_project
from annotation_ui.store.tables import Event, Item, Judgement, Response, User
from keel.cli import app
from reward_models.data.files import read_rows
from reward_models.data.sources import BadRowsError

NOW = 1_700_000_000.0
ROW = {"prompt": "q", "response_a": "one", "response_b": "two"}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def load(database: Database, tmp_path: Path) -> Callable[..., Any]:
    """Import rows (or a file) into a new preference project, or into the one there is."""

    def _load(rows: list[dict[str, Any]] | str, kind: str = "preference", **options: Any) -> Any:
        with database.write() as session:
            if not session.scalar(select(func.count()).select_from(User).where(User.name == kind)):
                session.add(User(name=kind, role="annotator", active=True, created=NOW))
                create_project(session, kind, kind, Settings(), author="root", now=NOW)  # type: ignore[arg-type]
        spec = rows if isinstance(rows, str) else write(tmp_path / "rows.jsonl", rows)
        return import_items(database, kind, [spec], author="root", now=NOW, **options)

    return _load


def test_items_without_labels_in_any_layout(database: Database, load: Callable[..., Any]) -> None:
    rows = [
        ROW | {"model_a": "x", "model_b": "y", "id": "seven"},
        {"prompt": "p", "chosen": "good", "rejected": "bad"},
        {"context": [{"role": "user", "content": "c"}], "response1": "1", "response2": "2", "overall_preference": -2},
    ]
    assert load(rows).added.items == 3
    with database.read() as session:
        assert session.scalars(select(Item.gold)).all() == [None] * 3
        assert session.scalar(select(func.count(Judgement.id))) == 0
        first = session.scalars(select(Item).order_by(Item.rank)).first()
        assert first is not None
        assert (first.source_id, first.source) == ("seven", "rows")
        assert [(r.slot, r.model, r.messages[0]["content"]) for r in first.responses] == [
            ("a", "x", "one"),
            ("b", "y", "two"),
        ]


def test_the_same_pair_is_one_item_and_votes_follow_its_order(database: Database, load: Callable[..., Any]) -> None:
    swapped = {"prompt": "q", "response_a": "two", "response_b": "one"}
    votes = [{"annotator": "ann", "label": "a much better"}, {"annotator": "bob", "label": "b"}]
    load([ROW])
    added = load([swapped | {"annotations": votes, "source": "elsewhere"}]).added
    assert (added.items, added.known, added.votes) == (0, 1, 2)
    again = load([swapped | {"annotations": votes, "source": "elsewhere"}]).added
    assert (again.votes, again.known_votes) == (0, 2)
    with database.read() as session:
        said = session.execute(select(User.name, Judgement.label, Judgement.strength).join(Judgement.user)).all()
        assert sorted(map(tuple, said)) == [("elsewhere/ann", "b", 3), ("elsewhere/bob", "a", None)]
        assert session.scalars(select(Item.taken)).all() == [2]
        assert session.scalars(select(User.password)).all() == [None] * 3


def test_gold(database: Database, load: Callable[..., Any]) -> None:
    load([ROW | {"label": "b"}], gold=True)
    with database.read() as session:
        assert session.scalars(select(Item.gold)).all() == ["b"]
    with pytest.raises(BadRowsError, match="no label to be the known answer"):
        load([ROW | {"prompt": "other"}], gold=True)


def test_the_evaluation_slice_is_by_prompt_and_does_not_move(database: Database, load: Callable[..., Any]) -> None:
    rows = [ROW | {"prompt": f"q{n // 2}", "response_b": f"b{n}"} for n in range(200)]
    load(rows[:50])
    with database.read() as session:
        before = {row[0]: row[1] for row in session.execute(select(Item.id, Item.split))}
    load(rows)
    with database.read() as session:
        after = session.execute(select(Item.id, Item.split, Item.prompt_key)).all()
    assert all(split == before.get(id, split) for id, split, _ in after)
    assert len({(key, split) for _, split, key in after}) == 100
    assert 2 <= Counter(split for _, split, _ in after)["eval"] / 2 <= 19  # 10 of 100 expected, 3 standard errors


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW | {"response_b": "one"}, "identical"),
        ({"prompt": "q", "response_a": "x"}, "response_b"),
        (ROW | {"annotations": "none"}, "not a list"),
        (ROW | {"annotations": [{"annotator": "", "label": "a"}]}, "not a name"),
        (ROW | {"annotations": [{"annotator": "x", "label": "c"}]}, "known: a, b, tie, both_bad"),
        (ROW | {"annotations": [{"annotator": "x", "label": "tie much better"}]}, "known"),
        (ROW | {"annotations": [{"annotator": "x", "label": "a"}] * 2}, "two annotations"),
        (ROW | {"response_a": "x" * 200_000}, "200,000 allowed"),
        (ROW | {"response_a": "x\0"}, "NUL"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_imported(
    database: Database, load: Callable[..., Any], row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRowsError, match=reason) as error:
        load([ROW, row])
    assert "rows.jsonl:2:" in str(error.value)
    with database.read() as session:
        assert session.scalar(select(func.count(Item.id))) == 0
    assert len(load([ROW, row], max_bad=1).bad) == 1


def test_votes_are_never_laid_to_an_account_of_ours(database: Database, load: Callable[..., Any]) -> None:
    with database.write() as session:
        session.add(User(name="s/ann", role="admin", password="x", active=True, created=NOW))
        for number, name in enumerate(("s/bob", "s/dora")):  # without a password
            sign_in(session, "https://provider", str(number), name=name, role="annotator", now=NOW)
        unlink(session, "s/dora", by="cli", now=NOW)  # nor a provider: dora stays a person
    for name in ("ann", "bob", "dora"):
        with pytest.raises(ValueError, match="is an account here"):
            load([ROW | {"source": "s", "annotations": [{"annotator": name, "label": "a"}]}])


def test_real_votes(database: Database, load: Callable[..., Any], keel_data: Path) -> None:
    file = keel_data / "annotations" / "tulu_human.test.jsonl.gz"
    loaded = load(str(file), max_bad=6)
    assert Counter(row.reason.split(";")[0] for row in loaded.bad) == {
        "the two responses are identical": 4,
        "an annotator has two annotations on one row": 2,
    }
    left_out = {row.line for row in loaded.bad}
    rows = [item[1] for item in read_rows(file) if isinstance(item, tuple) and item[0] not in left_out]
    expected = Counter(vote["label"].split()[0] for row in rows for vote in row["annotations"])
    with database.read() as session:
        counted = session.execute(select(Judgement.label, func.count()).group_by(Judgement.label))
        # One person judged two rows that differ in nothing but the names of the models.
        assert (
            expected - Counter({row[0]: row[1] for row in counted}) == {"tie": loaded.added.known_votes} == {"tie": 1}
        )
        assert session.scalar(select(func.count(Response.id)).where(Response.model.is_(None))) == 0
        assert session.scalar(select(func.sum(Item.taken))) == loaded.added.votes == sum(expected.values()) - 1


def test_real_safety_rows_lose_their_labels(database: Database, load: Callable[..., Any], keel_data: Path) -> None:
    added = load(str(keel_data / "safety" / "diasafety.test.jsonl.gz"), "safety", limit=50).added
    assert added.items + added.known == 50
    with database.read() as session:
        assert session.scalar(select(func.count(Judgement.id))) == 0


def test_a_failed_import_leaves_no_project_and_the_advised_command_works(sqlite: Database, tmp_path: Path) -> None:
    db = str(sqlite.url.database)
    file = write(tmp_path / "rows.jsonl", [ROW, {"prompt": "q", "response_a": 5, "response_b": "two"}])
    words = ["annotate", "import", file, "--project", "new", "--kind", "preference", "--votes", "2", "--db", db]
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 1
    assert "--max-bad 1" in failed.output
    with sqlite.read() as session:
        assert not has_project(session, "new")
    assert "1 items added" in CliRunner().invoke(app, [*words, "--max-bad", "1"]).output


def test_an_import_may_be_repeated_with_the_settings_that_hold(sqlite: Database, tmp_path: Path) -> None:
    db = str(sqlite.url.database)
    words = ["annotate", "import", write(tmp_path / "rows.jsonl", [ROW]), "--project", "new", "--db", db]
    assert "make it with --kind" in CliRunner().invoke(app, words).output
    words += ["--kind", "preference", "--votes", "2"]
    for told in ("1 items added", "0 items added, 1 were there"):
        assert told in CliRunner().invoke(app, words).output
    other = CliRunner().invoke(app, [*words, "--votes", "3"])
    assert other.exit_code == 2
    assert "votes_per_item is 2" in other.output
    changed = CliRunner().invoke(app, ["annotate", "settings", "--votes", "3", "--show-scores", "--db", db])
    assert "votes_per_item: 3" in changed.output
    assert "show_scores: True" in changed.output
    with sqlite.read() as session:
        [event] = session.scalars(select(Event).where(Event.kind == "settings changed"))
        assert event.detail == {"votes_per_item": [2, 3], "show_scores": [False, True]}
    assert CliRunner().invoke(app, ["annotate", "settings", "--gold-rate", "0.9", "--db", db]).exit_code == 2
