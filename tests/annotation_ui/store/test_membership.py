"""Who sees a project, and what an archived one still allows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from annotation_ui.actions import review
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import AccountError, add_user
from annotation_ui.store.database import Database
from annotation_ui.store.membership import (
    add_member,
    archive,
    members_of,
    remove_member,
    restore,
    set_members_only,
)
from annotation_ui.store.projects import ProjectError, Settings, create_project, find_project

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


def test_a_project_for_members_does_not_exist_for_others(database: Database, fill: Fill) -> None:
    fill(database)
    with database.write() as session:
        for name, role in (("rev", "reviewer"), ("root", "admin")):
            add_user(session, name, role, None, now=NOW)  # type: ignore[arg-type]
        project = find_project(session, "p")
        create_project(session, "open", "safety", Settings(), author="root", now=NOW)
        set_members_only(session, project, True, by="root", now=NOW)
        add_member(session, project, "ann", by="root", now=NOW)
        assert members_of(session, project) == ["ann"]
        with pytest.raises(AccountError, match="no user"):
            add_member(session, project, "nobody", by="root", now=NOW)
    assert annotating.layout(database, "ann").projects == ("open", "p")
    assert annotating.layout(database, "bob").projects == ("open",)
    assert annotating.layout(database, "root").projects == ("open", "p")
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    for outsider in ("bob", "rev"):
        with pytest.raises(ProjectError, match="no project 'p'; there are: open"):
            annotating.vote(database, outsider, "p", task.token, {"label": "tie"}, now=NOW)
        with pytest.raises(ProjectError, match="no project 'p'"):
            annotating.next_task(database, outsider, "p", now=NOW)
    with pytest.raises(ProjectError, match="no project 'p'"):
        review.dashboard(database, "rev", "p", now=NOW)
    with pytest.raises(ProjectError, match="no project 'p'"):
        review.case(database, "rev", "p", 1)
    with database.write() as session:
        remove_member(session, find_project(session, "p"), "ann", by="root", now=NOW)
        with pytest.raises(AccountError, match="no member"):
            remove_member(session, find_project(session, "p"), "ann", by="root", now=NOW)
    with pytest.raises(ProjectError, match="no project 'p'"):
        annotating.vote(database, "ann", "p", task.token, {"label": "tie"}, now=NOW)


def test_an_archived_project_is_read_and_not_changed(database: Database, fill: Fill) -> None:
    fill(database, items=2)
    with database.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
    first, second = (annotating.next_task(database, who, "p", now=NOW) for who in ("ann", "bob"))
    assert first is not None
    assert second is not None
    annotating.vote(database, "ann", "p", first.token, {"label": "tie"}, now=NOW)
    with database.write() as session:
        archive(session, find_project(session, "p"), by="root", now=NOW)
    [past] = annotating.history(database, "ann", "p")
    refused = (
        lambda: annotating.vote(database, "bob", "p", second.token, {"label": "tie"}, now=NOW),
        lambda: annotating.undo(database, "ann", "p", past.judgement, now=NOW),
        lambda: annotating.edit(database, "ann", "p", past.judgement, {"label": "both_bad"}, now=NOW),
        lambda: review.decide(database, "rev", "p", 1, {"label": "tie"}, seen=None, now=NOW),
    )
    for change in refused:
        with pytest.raises(ProjectError, match="archived"):
            change()
    screen = annotating.screen(database, "bob", "p", now=NOW)
    assert (screen.task, screen.archived) == (None, True)
    assert annotating.layout(database, "ann").projects == ()
    assert annotating.layout(database, "rev").projects == ("p",)
    with database.write() as session:
        restore(session, find_project(session, "p"), by="root", now=NOW)
    annotating.vote(database, "bob", "p", second.token, {"label": "tie"}, now=NOW)
