"""The page of a project's items: its filter, saved views, and the next item of the list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from annotation_ui.actions.browsing import COUNTED, LISTED, choices, find_items, next_item
from annotation_ui.actions.item_filter import MODEL_VIEWS, SORTS, Agreement, ItemFilter, Sort, given
from annotation_ui.actions.model_view import ModelView
from annotation_ui.actions.views import list_views, remove_view, save_view
from annotation_ui.store.projects import ProjectError
from annotation_ui.web.context import Action, Context, Reply, Said, Show
from annotation_ui.web.form_fields import fields_of, whole
from annotation_ui.web.wording import LABELS

MODEL_WORDS = {"against": "they disagree", "with": "they agree"}


def filter_of(fields: Mapping[str, str]) -> ItemFilter:
    """The filter in the fields of the item browser's form.

    Raises:
        ProjectError: a number is none.
    """
    decided = {"yes": True, "no": False}.get(fields.get("decided", ""))
    return ItemFilter(
        q=fields.get("q", ""),
        label=fields.get("label", ""),
        annotator=fields.get("annotator", ""),
        guideline=whole(fields, "guideline", "guideline version"),
        agreement=cast(Agreement, fields.get("agreement", "")),
        decided=decided,
        source=fields.get("source", ""),
        shortest=whole(fields, "shortest", "at least so many characters"),
        longest=whole(fields, "longest", "at most so many characters"),
        model=fields.get("model", ""),
        model_view=cast(ModelView, fields.get("model_view", "")),
        sort=cast(Sort, fields.get("sort") or "oldest"),
    )


def fields_for(wanted: ItemFilter) -> dict[str, str]:
    """The fields of the form that :func:`filter_of` reads ``wanted`` from, without those that ask for nothing."""
    words = {True: "yes", False: "no"}
    return {name: words[value] if isinstance(value, bool) else str(value) for name, value in given(wanted).items()}


def item_actions(show: Show) -> dict[str, Action]:
    """The actions of the page; ``show`` renders it."""

    def items(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked) if "fields" in asked else {}
        wanted = filter_of(fields)
        found = find_items(
            context.database, context.who, context.project, wanted, cursor=fields.get("cursor") or None, counted=True
        )
        views = list_views(context.database, context.who, context.project)
        return show(
            context,
            "items",
            found=found,
            counted=COUNTED,
            listed=LISTED,
            fields=fields_for(wanted),
            choices=choices(context.database, context.who, context.project),
            views=[(view, fields_for(view.wanted)) for view in views],
            model_views=MODEL_VIEWS,
            model_words=MODEL_WORDS,
            sorts=SORTS,
            names=LABELS,
        )

    def save(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        name, shared = fields.get("view_name", ""), fields.get("view_shared") == "yes"
        wanted = filter_of(fields)
        save_view(context.database, context.who, context.project, name, wanted, shared=shared, now=context.now)
        return items(context, asked) | {"note": "The view is saved"}

    def remove(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        remove_view(context.database, context.who, context.project, whole(fields, "view", "view") or 0)
        return items(context, asked) | {"note": "The view is removed"}

    return {"items": items, "save view": save, "remove view": remove}


def following(context: Context, asked: Said) -> int:
    """The item after ``asked["item"]`` in the list that the form's fields describe.

    Raises:
        ProjectError: it was the last one.
    """
    item = asked.get("item")
    if isinstance(item, bool) or not isinstance(item, int) or not 0 < item < 2**31:
        raise ProjectError("no item to go on from")
    wanted = filter_of(fields_of(asked) if "fields" in asked else {})
    found = next_item(context.database, context.who, context.project, wanted, item)
    if found is None:
        raise ProjectError("this was the last item of the list")
    return found
