"""The pages of administration: users, the project, the own account; and those of items and webhooks.

Each action is answered with a page.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from annotation_ui.actions import administration as admin
from annotation_ui.actions import own_account
from annotation_ui.labelling.session import layout
from annotation_ui.store.accounts import MIN_PASSWORD, ROLES, AccountError, Role
from annotation_ui.store.forms import RESPONSES
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.tokens import SCOPES
from annotation_ui.web.context import Action, Context, Reply, Said, Show
from annotation_ui.web.form_fields import fields_of, number, whole
from annotation_ui.web.item_pages import item_actions
from annotation_ui.web.login import TOO_MANY
from annotation_ui.web.login_limits import LoginLimits
from annotation_ui.web.snapshot_pages import snapshot_actions
from annotation_ui.web.webhook_pages import webhook_actions

_guesses = LoginLimits()  # at the old password, by one who sits at an open browser

WHOLE = {"votes_per_item": "votes per item", "training_items": "items of the training round"}
NUMBERS = {
    "gold_rate": "share of gold items",
    "repeat_rate": "share of repeats",
    "lease_seconds": "seconds of a lease",
    "pause_below": "accuracy to pause below",
    "hourly_rate": "pay of an hour",
}
# A line of a file to import, by the kind of project.
EXAMPLES = {
    "preference": '{"prompt": "…", "response_a": "…", "response_b": "…"}',
    "safety": '{"prompt": "…", "response": "…"}',
    "ranking": '{"prompt": "…", "responses": ["…", "…", "…"]}',
    "attributes": '{"prompt": "…", "responses": ["…", "…"]}',
    "rewrite": '{"prompt": "…", "response": "…"}',
}


def actions(show: Show) -> dict[str, Action]:
    """The actions of these pages; ``show`` renders a page."""

    def users(context: Context, asked: Said) -> Reply:
        found = admin.list_users(context.database, context.who)
        return show(context, "users", users=found, roles=ROLES, shortest=MIN_PASSWORD)

    def change_user(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        name, database, who, now = fields.get("name", ""), context.database, context.who, context.now
        what, note = fields.get("what", ""), f"User {name} is changed"
        if what == "add":
            role = cast(Role, fields.get("role", ""))
            admin.add_user(database, who, name, role, fields.get("password") or None, now=now)
            how = f"may log in as {role}" if fields.get("password") else "is there, without a password"
            note = f"User {name} {how}"
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

    made = {"users": users, "change user": change_user} | _project(show) | _account(show)
    made |= item_actions(show) | webhook_actions(show) | snapshot_actions(show)
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
        info = admin.project_info(database, who, name) if name else None
        people = [account.name for account in admin.list_users(database, who)]
        return show(
            context,
            "project",
            info=info,
            leases=admin.leases(database, who, name) if name else [],
            people=people,
            kinds=list(RESPONSES),
            example=EXAMPLES.get(info.kind, "") if info else "",
            now=context.now,
        )

    def settings(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        changes: dict[str, Any] = {name: number(fields, name, NUMBERS[name]) for name in NUMBERS if name in fields}
        changes |= {name: whole(fields, name, words) or 0 for name, words in WHOLE.items() if name in fields}
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
        return project(context, asked) | {"note": f"User {name} is {'a member' if member else 'no member any more'}"}

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
        chosen: dict[str, Any] = {"votes_per_item": whole(fields, "votes_per_item", WHOLE["votes_per_item"]) or 0}
        if "eval_fraction" in fields:
            chosen["eval_fraction"] = number(fields, "eval_fraction", "share of the prompts kept for evaluation")
        admin.create_project(context.database, context.who, name, kind, chosen, now=context.now)
        made = replace(context, project=name)
        return project(made, asked) | {"note": f"Project {name} is there; import items into it"}

    return {"member": member, "release": release, "archive": archive, "create project": create}


def _account(show: Show) -> dict[str, Action]:
    def account(context: Context, asked: Said, secret: str = "") -> Reply:
        tokens = admin.list_tokens(context.database, context.who, now=context.now)
        values: dict[str, Any] = {"has_password": own_account.has_password(context.database, context.who)}
        values |= {"tokens": tokens, "scopes": SCOPES, "shortest": MIN_PASSWORD, "now": context.now, "secret": secret}
        return show(context, "account", **values)

    def password(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        new = fields.get("new_password", "")
        if new != fields.get("new_password_again"):
            raise AccountError("the two new passwords differ")
        browser = (context.who or "", "", "this browser")
        if _guesses.reached(*browser, now=context.now):
            raise AccountError(TOO_MANY)
        try:
            old = fields.get("password", "")
            own_account.change_own_password(context.database, context.who, old, new, now=context.now)
        except AccountError:
            _guesses.failed(*browser, now=context.now)
            raise
        return {"html": None, "note": "Changed. Log in with the new password", "error": None}

    def sign_out(context: Context, asked: Said) -> Reply:
        count = own_account.sign_out_everywhere(context.database, context.who, now=context.now)
        return {"html": None, "note": f"{count} log-ins are closed, this one too", "error": None}

    def make_token(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        scopes = [scope for scope in SCOPES if fields.get(f"scope_{scope}") == "yes"]
        days = whole(fields, "days", "days") or 0
        name = fields.get("name", "")
        _, secret = admin.make_token(context.database, context.who, name, scopes, days=days, now=context.now)
        return account(context, asked, secret) | {"note": "The token is shown this once: copy it now"}

    def revoke_token(context: Context, asked: Said) -> Reply:
        number = whole(fields_of(asked), "token", "token") or 0
        admin.revoke_token(context.database, context.who, number, now=context.now)
        return account(context, asked) | {"note": "Revoked"}

    return {
        "account": account,
        "change password": password,
        "sign out everywhere": sign_out,
        "make token": make_token,
        "revoke token": revoke_token,
    }
