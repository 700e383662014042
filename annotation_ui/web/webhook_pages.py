"""The page of webhooks, for admins: a list, a new one, a test, the last deliveries, disable and remove."""

from __future__ import annotations

from annotation_ui.actions import webhooks as hooks
from annotation_ui.actions.administration import list_projects
from annotation_ui.store.webhooks import EVENTS, LONGEST_URL, WebhookError
from annotation_ui.web.context import Action, Context, Reply, Said, Show
from annotation_ui.web.form_fields import fields_of, whole


def webhook_actions(show: Show) -> dict[str, Action]:
    """The actions of the page; ``show`` renders it."""

    def page(context: Context, secret: str = "", opened: int | None = None) -> Reply:
        database, who = context.database, context.who
        found = hooks.list_webhooks(database, who)
        return show(
            context,
            "webhooks",
            hooks=found,
            events=EVENTS,
            longest=LONGEST_URL,
            named=[project.name for project in list_projects(database, who)],
            secret=secret,
            opened=opened,
            deliveries=[] if opened is None else hooks.deliveries(database, who, opened),
            now=context.now,
        )

    def webhooks(context: Context, asked: Said) -> Reply:
        return page(context, opened=_number(asked) if "fields" in asked else None)

    def add(context: Context, asked: Said) -> Reply:
        fields = fields_of(asked)
        events = [kind for kind in EVENTS if fields.get(f"event {kind}") == "yes"]
        _, secret = hooks.make_webhook(
            context.database,
            context.who,
            fields.get("url", ""),
            events,
            project=fields.get("project") or None,
            now=context.now,
        )
        return page(context, secret) | {"note": "The secret is shown this once: copy it now"}

    def change(context: Context, asked: Said) -> Reply:
        fields, number = fields_of(asked), _number(asked)
        if number is None:
            raise WebhookError("no webhook to change")
        database, who, now = context.database, context.who, context.now
        what = fields.get("what", "")
        if what in ("enable", "disable"):
            hooks.switch_webhook(database, who, number, what == "enable", now=now)
            return page(context) | {"note": "Enabled" if what == "enable" else "Disabled"}
        if what == "test":
            hooks.try_webhook(database, who, number, now=now)
            return page(context, opened=number) | {"note": "A test is under way; look again in a moment"}
        if what == "remove":
            hooks.end_webhook(database, who, number, now=now)
            return page(context) | {"note": "Removed"}
        raise WebhookError("nothing to change")

    return {"webhooks": webhooks, "add webhook": add, "change webhook": change}


def _number(asked: Said) -> int | None:
    return whole(fields_of(asked), "webhook", "webhook")
