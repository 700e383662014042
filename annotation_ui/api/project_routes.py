"""Routes of projects: settings, guidelines, members, leases, progress, items, import and export."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import StreamingResponse

from annotation_ui.actions import administration as admin
from annotation_ui.actions import views
from annotation_ui.actions.browsing import (
    LARGEST_PAGE,
    PAGE,
    find_items,
    item_history,
)
from annotation_ui.actions.item_filter import Agreement, ItemFilter, Sort, given
from annotation_ui.actions.model_view import ModelView
from annotation_ui.actions.pauses import let_go_on, list_held_back
from annotation_ui.actions.snapshots import Rows
from annotation_ui.actions.transfer import import_lines, labelled_lines, require_import, take_snapshot, vote_lines
from annotation_ui.actions.views import View
from annotation_ui.api import models
from annotation_ui.api.access import ADMINS, EVERYBODY, REVIEWERS, Caller, allowed
from annotation_ui.store.database import Database

ProjectName = Annotated[models.Text, Path(max_length=100)]
NDJSON = "application/x-ndjson"
LINES: dict[int | str, dict[str, Any]] = {200: {"content": {NDJSON: {}}, "description": "One JSON object a line"}}
_BODY = {"required": True, "content": {NDJSON: {"schema": {"type": "string", "format": "binary"}}}}


def project_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["projects"])

    @routes.get("/projects", **allowed("read", EVERYBODY))
    def list_projects(by: Caller) -> dict[str, Any]:
        """The projects that the account may see."""
        return {"projects": [asdict(project) for project in admin.list_projects(database, by.user)]}

    @routes.post("/projects", status_code=201, **allowed("admin", ADMINS))
    def create_project(by: Caller, asked: models.NewProject) -> dict[str, Any]:
        """Make an empty project."""
        admin.create_project(
            database,
            by.user,
            asked.name,
            asked.kind,
            asked.settings.given(),
            guideline=asked.guideline,
            now=time.time(),
        )
        return asdict(admin.project_info(database, by.user, asked.name))

    @routes.get("/projects/{project}", **allowed("read", EVERYBODY))
    def get_project(by: Caller, project: ProjectName) -> dict[str, Any]:
        """One project with its settings and the guideline in force."""
        return asdict(admin.project_info(database, by.user, project))

    @routes.patch("/projects/{project}", **allowed("admin", ADMINS))
    def change_project(by: Caller, project: ProjectName, asked: models.ProjectChange) -> dict[str, Any]:
        """Change settings, restrict it to members, archive or restore it."""
        settings = asked.settings.given() if asked.settings else None
        admin.change_project(
            database,
            by.user,
            project,
            settings=settings,
            members_only=asked.members_only,
            archived=asked.archived,
            now=time.time(),
        )
        return asdict(admin.project_info(database, by.user, project))

    @routes.get("/projects/{project}/guidelines", **allowed("read", EVERYBODY))
    def list_guidelines(by: Caller, project: ProjectName) -> dict[str, Any]:
        """Every version of the guideline, newest first."""
        return {"guidelines": admin.guidelines(database, by.user, project)}

    @routes.post("/projects/{project}/guidelines", status_code=201, **allowed("admin", ADMINS))
    def add_guideline(by: Caller, project: ProjectName, asked: models.NewGuideline) -> dict[str, Any]:
        """A new version of the guideline."""
        version = admin.add_guideline(database, by.user, project, asked.text, asked.harms, now=time.time())
        return {"version": version}

    return routes


def work_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["projects"])

    @routes.put("/projects/{project}/members/{name}", status_code=204, **allowed("admin", ADMINS))
    def add_member(by: Caller, project: ProjectName, name: models.Name) -> None:
        """Let an account see a project that is for members only."""
        admin.change_member(database, by.user, project, name, True, now=time.time())

    @routes.delete("/projects/{project}/members/{name}", status_code=204, **allowed("admin", ADMINS))
    def remove_member(by: Caller, project: ProjectName, name: models.Name) -> None:
        """End a membership."""
        admin.change_member(database, by.user, project, name, False, now=time.time())

    @routes.get("/projects/{project}/leases", **allowed("admin", ADMINS))
    def list_leases(by: Caller, project: ProjectName) -> dict[str, Any]:
        """The items in annotators' hands."""
        return {"leases": [asdict(found) for found in admin.leases(database, by.user, project)]}

    @routes.post("/projects/{project}/leases/release", **allowed("admin", ADMINS))
    def release_leases(by: Caller, project: ProjectName, asked: models.ReleasedLeases) -> dict[str, Any]:
        """Give them back to the queue."""
        return {"released": admin.release_leases(database, by.user, project, asked.annotator, now=time.time())}

    @routes.get("/projects/{project}/held-back", **allowed("read", REVIEWERS))
    def get_held_back(by: Caller, project: ProjectName) -> dict[str, Any]:
        """The annotators who are warned or paused by their answers on gold items."""
        found = list_held_back(database, by.user, project)
        return {"annotators": [{"annotator": name, **asdict(record)} for name, record in found]}

    @routes.post("/projects/{project}/held-back/{name}/resume", status_code=204, **allowed("admin", REVIEWERS))
    def resume(by: Caller, project: ProjectName, name: models.Name) -> None:
        """Let a paused annotator go on."""
        let_go_on(database, by.user, project, name, now=time.time())

    @routes.get("/projects/{project}/progress", **allowed("read", REVIEWERS))
    def get_progress(by: Caller, project: ProjectName) -> dict[str, Any]:
        """The finished and the open part, and a forecast of the end and the cost, with intervals at 95 %."""
        progress, forecast = admin.progress_of(database, by.user, project, now=time.time())
        return {**asdict(progress), "days_left": progress.days_left, "forecast": asdict(forecast)}

    return routes


def item_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["items"])

    @routes.get("/projects/{project}/items", **allowed("read", REVIEWERS))
    def list_items(
        by: Caller,
        project: ProjectName,
        q: Annotated[models.Text, Query(max_length=1000, description="Words that all occur")] = "",
        label: Annotated[models.Text, Query(max_length=100)] = "",
        annotator: Annotated[models.Text, Query(max_length=100)] = "",
        guideline: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
        agreement: Agreement | None = None,
        decided: bool | None = None,
        source: Annotated[models.Text, Query(max_length=2000)] = "",
        shortest: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
        longest: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
        model: Annotated[models.Text, Query(max_length=100, description="A scorer by its name")] = "",
        model_view: ModelView | None = None,
        sort: Sort = "oldest",
        cursor: Annotated[models.Text | None, Query(max_length=200, description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    ) -> dict[str, Any]:
        """A page of the items that fit every condition."""
        wanted = ItemFilter(
            q=q,
            label=label,
            annotator=annotator,
            guideline=guideline,
            agreement=agreement or "",
            decided=decided,
            source=source,
            shortest=shortest,
            longest=longest,
            model=model,
            model_view=model_view or "",
            sort=sort,
        )
        page = find_items(database, by.user, project, wanted, cursor=cursor, limit=limit)
        return {"items": [asdict(item) for item in page.items], "next": page.next}

    @routes.get("/projects/{project}/items/{item}", **allowed("read", REVIEWERS))
    def get_item(by: Caller, project: ProjectName, item: Annotated[int, Path(ge=1, lt=2**31)]) -> dict[str, Any]:
        """One item with its texts and every judgement on it."""
        return item_history(database, by.user, project, item)

    return routes


def view_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["items"])

    def shown(view: View) -> dict[str, Any]:
        said = {name: value for name, value in asdict(view).items() if name != "wanted"}
        return {**said, "filter": given(view.wanted)}

    @routes.get("/projects/{project}/views", **allowed("read", REVIEWERS))
    def list_views(by: Caller, project: ProjectName) -> dict[str, Any]:
        """The own saved views, and those that others share. `filter` holds parameters of the list of items."""
        return {"views": [shown(view) for view in views.list_views(database, by.user, project)]}

    @routes.post("/projects/{project}/views", status_code=201, **allowed("admin", REVIEWERS))
    def save_view(by: Caller, project: ProjectName, asked: models.NewView) -> dict[str, Any]:
        """Keep a filter under a name, in place of the account's own view of that name."""
        wanted = asked.filter.wanted()
        made = views.save_view(database, by.user, project, asked.name, wanted, shared=asked.shared, now=time.time())
        return shown(made)

    @routes.delete("/projects/{project}/views/{view}", status_code=204, **allowed("admin", REVIEWERS))
    def remove_view(by: Caller, project: ProjectName, view: Annotated[int, Path(ge=1, lt=2**31)]) -> None:
        """Remove an own view; an admin may remove shared ones of others too."""
        views.remove_view(database, by.user, project, view)

    return routes


def import_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["import and export"])
    importing = allowed("import", ADMINS)
    importing["openapi_extra"]["requestBody"] = _BODY

    @routes.post("/projects/{project}/import", **importing)
    async def import_items(
        by: Caller,
        project: ProjectName,
        request: Request,
        name: Annotated[models.Text, Query(max_length=100, description="The source of the items")] = "api",
        gold: bool = False,
        max_bad: Annotated[int, Query(ge=0, lt=2**31)] = 0,
        idempotency_key: Annotated[models.Text | None, Header(min_length=1, max_length=200)] = None,
    ) -> dict[str, Any]:
        """Add items, one JSON object a line, in any layout that `keel annotate import` reads. All of them or none.

        A request that is repeated with the same Idempotency-Key gets the answer of the first one.
        """
        await anyio.to_thread.run_sync(require_import, database, by.user, project)
        body = await request.body()

        def work() -> dict[str, Any]:
            return import_lines(
                database,
                by.user,
                project,
                body,
                name=name,
                gold=gold,
                max_bad=max_bad,
                key=idempotency_key,
                now=time.time(),
            )

        return await anyio.to_thread.run_sync(work)

    return routes


def export_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["import and export"])

    @routes.get("/projects/{project}/votes", responses=LINES, **allowed("export", REVIEWERS))
    def export_votes(
        by: Caller,
        project: ProjectName,
        snapshot: Annotated[models.Text | None, Query(max_length=100)] = None,
        pseudonyms: bool = False,
    ) -> StreamingResponse:
        """Every judgement, one JSON object a line: votes, skips, edits, undone ones and decisions."""
        lines = vote_lines(database, by.user, project, snapshot=snapshot, pseudonyms=pseudonyms)
        return StreamingResponse(lines, media_type=NDJSON)

    @routes.get("/projects/{project}/export", responses=LINES, **allowed("export", REVIEWERS))
    def export_labels(
        by: Caller,
        project: ProjectName,
        snapshot: Annotated[models.Text, Query(max_length=100)],
        split: models.Split = "train",
        rows: Rows = "labels",
    ) -> StreamingResponse:
        """The rows of a snapshot, as `keel annotate export` writes them; `pairs` and `turns` are its options."""
        lines = labelled_lines(database, by.user, project, snapshot, split, rows)
        return StreamingResponse(lines, media_type=NDJSON)

    @routes.post("/projects/{project}/snapshots", status_code=201, **allowed("export", ADMINS))
    def add_snapshot(by: Caller, project: ProjectName, asked: models.NewSnapshot) -> dict[str, Any]:
        """Freeze the judgements in force under a name."""
        return {"snapshot": take_snapshot(database, by.user, project, asked.name, now=time.time())}

    return routes
