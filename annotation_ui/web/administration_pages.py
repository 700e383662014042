"""The pages of administration: items, users, the project, the own account. Each action is answered with a page.

Forms send ``{"fields": {name: text}}``; every value is text from the browser and may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from annotation_ui.actions import administration as admin
from annotation_ui.actions.browsing import COUNTED, choices, find_items, next_item
from annotation_ui.actions.item_filter import AGREEMENTS, SORTS, Agreement, ItemFilter, Sort
from annotation_ui.labelling.session import layout
from annotation_ui.store.accounts import MIN_PASSWORD, ROLES, AccountError, Role
from annotation_ui.store.forms import RESPONSES
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.tokens import SCOPES
from annotation_ui.web.context import Context, Reply, Said
from annotation_ui.web.wording import LABELS

Show = Callable[..., Reply]
Action = Callable[[Context, Said], Reply]
LONGEST_FIELD = 60_000

WHOLE = {"votes_per_item": "votes per item"}
NUMBERS = {"gold_rate": "share of gold items", "repeat_rate": "share of repeats", "lease_seconds": "seconds of a lease"}


def fields_of(asked: Said) -> dict[str, str]:
    """The fields of a form: text that databases store, without spaces at the ends; passwords as they are."""
    found = asked.get("fields")
    if not isinstance(found, dict) or len(found) > 40:
        raise ProjectError("the form did not arrive")
    fields: dict[str, str] = {}
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, str) or len(value) > LONGEST_FIELD:
            raise ProjectError(f"a field of the form is no text, or longer than {LONGEST_FIELD} characters")
        clean = value.replace("\0", "").encode("utf-8", "replace").decode()
        fields[name] = clean if "password" in name else clean.strip()
    return fields


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
        guideline=_whole(fields, "guideline", "guideline version"),
        agreement=cast(Agreement, fields.get("agreement", "")),
        decided=decided,
        source=fields.get("source", ""),
        shortest=_whole(fields, "shortest", "at least so many characters"),
        longest=_whole(fields, "longest", "at most so many characters"),
        sort=cast(Sort, fields.get("sort") or "oldest"),
    )


def _whole(fields: Mapping[str, str], name: str, words: str) -> int | None:
    text = fields.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ProjectError(f"{words}: {text[:20]!r} is not a whole number")
    return int(text)


def _number(fields: Mapping[str, str], name: str, words: str) -> float:
    text = fields.get(name, "")
    try:
        return float(text[:50])
    except ValueError:
        raise ProjectError(f"{words}: {text[:20]!r} is not a number") from None


def actions(show: Show) -> dict[str, Action]:
    """The actions of these pages; ``show`` renders a page."""

    def items(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked) if "fields" in asked else {}
        wanted = filter_of(fields)
        found = find_items(
            context.database, context.who, context.project, wanted, cursor=fields.get("cursor") or None, counted=True
        )
        kept = {name: value for name, value in fields.items() if value and name != "cursor"}
        return show(
            context,
            "items",
            found=found,
            counted=COUNTED,
            fields=kept,
            choices=choices(context.database, context.who, context.project),
            agreements=AGREEMENTS,
            sorts=SORTS,
            names=LABELS,
        )

    def users(context: Context, asked: Said) -> Reply:
        found = admin.list_users(context.database, context.who)
        return show(context, "users", users=found, roles=ROLES, shortest=MIN_PASSWORD)

    def change_user(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        name, database, who, now = fields.get("name", ""), context.database, context.who, context.now
        what, note = fields.get("what", ""), f"{name} is changed"
        if what == "add":
            role = cast(Role, fields.get("role", ""))
            admin.add_user(database, who, name, role, fields.get("password") or None, now=now)
            note = f"{name} may log in as {role}" if fields.get("password") else f"{name} is there, without a password"
        elif what == "role":
            admin.change_user(database, who, name, role=cast(Role, fields.get("role", "")), now=now)
        elif what in ("enable", "disable"):
            admin.change_user(database, who, name, active=what == "enable", now=now)
        elif what == "password":
            admin.change_user(database, who, name, password=fields.get("password", ""), now=now)
        elif what == "forget":
            note = f"The name is {admin.remove_name(database, who, name, now=now)} now"
        else:
            raise AccountError("nothing to change")
        return users(context, asked) | {"note": note}

    made = {"items": items, "users": users, "change user": change_user} | _project(show) | _account(show)
    return {name: _signed_in(action) for name, action in made.items()}


def _signed_in(action: Action) -> Action:
    """The action for accounts of any role, and for nobody else, before its form is looked at."""

    def act(context: Context, asked: Said) -> Reply:
        layout(context.database, context.who)
        return action(context, asked)

    return act


def _project(show: Show) -> dict[str, Action]:
    def project(context: Context, asked: Said) -> Reply:
        database, who, name = context.database, context.who, context.project
        people = [account.name for account in admin.list_users(database, who)]
        return show(
            context,
            "project",
            info=admin.project_info(database, who, name) if name else None,
            leases=admin.leases(database, who, name) if name else [],
            people=people,
            kinds=list(RESPONSES),
            now=context.now,
        )

    def settings(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        changes: dict[str, Any] = {name: _number(fields, name, words) for name, words in NUMBERS.items()}
        for name, words in WHOLE.items():
            changes[name] = _whole(fields, name, words) or 0
        changes["show_scores"] = fields.get("show_scores") == "yes"
        only = fields.get("members_only") == "yes"
        admin.change_project(
            context.database, context.who, context.project, settings=changes, members_only=only, now=context.now
        )
        return project(context, asked) | {"note": "Saved. Votes that were given stay as they are"}

    def guideline(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        harms = [line.strip() for line in fields.get("harms", "").splitlines() if line.strip()]
        version = admin.add_guideline(
            context.database, context.who, context.project, fields.get("guideline", ""), harms or None, now=context.now
        )
        return project(context, asked) | {"note": f"Version {version} is shown from the next item on"}

    def define(context: Context, asked: Said) -> Reply:
        text = fields_of(asked).get("definition", "")
        version = admin.define(context.database, context.who, context.project, text, now=context.now)
        return project(context, asked) | {"note": f"Version {version} is shown from the next item on"}

    made = {"project": project, "settings": settings, "guideline": guideline, "define": define}
    return made | _access(project)


def _access(project: Action) -> dict[str, Action]:
    """The people who work on a project, what they hold, and its end; ``project`` shows its page."""

    def member(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        name, member = fields.get("name", ""), fields.get("what") == "add"
        admin.change_member(context.database, context.who, context.project, name, member, now=context.now)
        return project(context, asked) | {"note": f"{name} is {'a member' if member else 'no member any more'}"}

    def release(context: Context, asked: Said) -> Reply:
        name = fields_of(asked).get("name") or None
        count = admin.release_leases(context.database, context.who, context.project, name, now=context.now)
        return project(context, asked) | {"note": f"{count} items are in the queue again"}

    def archive(context: Context, asked: Said) -> Reply:
        away = fields_of(asked).get("what") == "archive"
        admin.change_project(context.database, context.who, context.project, archived=away, now=context.now)
        return project(context, asked) | {"note": "Archived" if away else "Open again"}

    def create(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        name = fields.get("name", "")
        kind = fields.get("kind", "")
        if kind not in RESPONSES:
            raise ProjectError(f"a project's kind is one of {', '.join(RESPONSES)}")
        votes = _whole(fields, "votes_per_item", WHOLE["votes_per_item"]) or 0
        admin.create_project(context.database, context.who, name, kind, {"votes_per_item": votes}, now=context.now)
        made = replace(context, project=name)
        return project(made, asked) | {"note": f"{name} is there; import items into it"}

    return {"member": member, "release": release, "archive": archive, "create project": create}


def _account(show: Show) -> dict[str, Action]:
    def account(context: Context, asked: Said, secret: str = "") -> Reply:
        tokens = admin.list_tokens(context.database, context.who, now=context.now)
        values = {"tokens": tokens, "scopes": SCOPES, "shortest": MIN_PASSWORD, "now": context.now, "secret": secret}
        return show(context, "account", **values)

    def password(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        new = fields.get("new_password", "")
        if new != fields.get("new_password_again"):
            raise AccountError("the two new passwords differ")
        admin.change_own_password(context.database, context.who, fields.get("password", ""), new, now=context.now)
        return {"html": None, "note": "Changed. Log in with the new password", "error": None}

    def sign_out(context: Context, asked: Said) -> Reply:
        count = admin.sign_out_everywhere(context.database, context.who, now=context.now)
        return {"html": None, "note": f"{count} log-ins are closed, this one too", "error": None}

    def make_token(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        scopes = [scope for scope in SCOPES if fields.get(f"scope_{scope}") == "yes"]
        days = _whole(fields, "days", "days") or 0
        name = fields.get("name", "")
        _, secret = admin.make_token(context.database, context.who, name, scopes, days=days, now=context.now)
        return account(context, asked, secret) | {"note": "The token is shown this once: copy it now"}

    def revoke_token(context: Context, asked: Said) -> Reply:
        number = _whole(fields_of(asked), "token", "token") or 0
        admin.revoke_token(context.database, context.who, number, now=context.now)
        return account(context, asked) | {"note": "Revoked"}

    return {
        "account": account,
        "change password": password,
        "sign out everywhere": sign_out,
        "make token": make_token,
        "revoke token": revoke_token,
    }


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
