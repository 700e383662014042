"""Routes of accounts, tokens and webhooks."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path

from annotation_ui.actions import administration as admin
from annotation_ui.actions import webhooks as hooks
from annotation_ui.api import models
from annotation_ui.api.access import ADMINS, EVERYBODY, Caller, allowed
from annotation_ui.store.database import Database

Number = Annotated[int, Path(ge=1, lt=2**31)]


def account_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["accounts"])

    @routes.get("/me", **allowed(None, EVERYBODY))
    def get_me(by: Caller) -> dict[str, Any]:
        """The account of the token, and the token's scopes."""
        return {"name": by.user, "scopes": list(by.scopes)}

    @routes.get("/users", **allowed("admin", ADMINS))
    def list_users(by: Caller) -> dict[str, Any]:
        """Every account."""
        return {"users": [asdict(account) for account in admin.list_users(database, by.user)]}

    @routes.post("/users", status_code=201, **allowed("admin", ADMINS))
    def add_user(by: Caller, asked: models.NewUser) -> dict[str, Any]:
        """Make an account. Without a password nobody can log in as it."""
        admin.add_user(database, by.user, asked.name, asked.role, asked.password, now=time.time())
        return {"name": asked.name, "role": asked.role}

    @routes.patch("/users/{name}", status_code=204, **allowed("admin", ADMINS))
    def change_user(by: Caller, name: models.Name, asked: models.UserChange) -> None:
        """Another role or password; `active: false` locks the account out."""
        admin.change_user(
            database,
            by.user,
            name,
            role=asked.role,
            active=asked.active,
            password=asked.password,
            now=time.time(),
        )

    @routes.delete("/users/{name}", **allowed("admin", ADMINS))
    def remove_name(by: Caller, name: models.Name) -> dict[str, Any]:
        """Replace a person's name by a pseudonym for good and close the account. The votes stay."""
        return {"pseudonym": admin.remove_name(database, by.user, name, now=time.time())}

    return routes


def token_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["tokens"])

    @routes.get("/tokens", **allowed("admin", EVERYBODY))
    def list_tokens(by: Caller) -> dict[str, Any]:
        """The tokens of the account, without their secrets."""
        return {"tokens": [asdict(token) for token in admin.list_tokens(database, by.user, now=time.time())]}

    @routes.post("/tokens", status_code=201, **allowed("admin", EVERYBODY))
    def make_token(by: Caller, asked: models.NewToken) -> dict[str, Any]:
        """A new token of the account. The secret is in this answer and nowhere else."""
        made, secret = admin.make_token(database, by.user, asked.name, asked.scopes, days=asked.days, now=time.time())
        return {**asdict(made), "secret": secret}

    @routes.delete("/tokens/{token}", status_code=204, **allowed("admin", EVERYBODY))
    def revoke_token(by: Caller, token: Number) -> None:
        """End a token at once; an admin may end any."""
        admin.revoke_token(database, by.user, token, now=time.time())

    return routes


def webhook_routes(database: Database) -> APIRouter:
    routes = APIRouter(tags=["webhooks"])

    @routes.get("/webhooks", **allowed("admin", ADMINS))
    def list_webhooks(by: Caller) -> dict[str, Any]:
        """Every webhook, without its secret."""
        return {"webhooks": hooks.list_webhooks(database, by.user)}

    @routes.post("/webhooks", status_code=201, **allowed("admin", ADMINS))
    def add_webhook(by: Caller, asked: models.NewWebhook) -> dict[str, Any]:
        """Tell an address of events. The secret that signs them is in this answer and nowhere else."""
        made, secret = hooks.make_webhook(
            database, by.user, asked.url, asked.events, project=asked.project, now=time.time()
        )
        return {**made, "secret": secret}

    @routes.get("/webhooks/{webhook}/deliveries", **allowed("admin", ADMINS))
    def list_deliveries(by: Caller, webhook: Number) -> dict[str, Any]:
        """The last deliveries, with the reason of the last failure."""
        return {"deliveries": hooks.deliveries(database, by.user, webhook)}

    @routes.patch("/webhooks/{webhook}", **allowed("admin", ADMINS))
    def change_webhook(by: Caller, webhook: Number, asked: models.WebhookChange) -> dict[str, Any]:
        """Disable it, which drops what waits for it, or enable it again."""
        return hooks.switch_webhook(database, by.user, webhook, asked.active, now=time.time())

    @routes.post("/webhooks/{webhook}/test", status_code=202, **allowed("admin", ADMINS))
    def test_webhook(by: Caller, webhook: Number) -> dict[str, Any]:
        """Send it a message that is a test. What came of it is among the deliveries."""
        hooks.try_webhook(database, by.user, webhook, now=time.time())
        return {"webhook": webhook}

    @routes.delete("/webhooks/{webhook}", status_code=204, **allowed("admin", ADMINS))
    def remove_webhook(by: Caller, webhook: Number) -> None:
        """Tell it of nothing more."""
        hooks.end_webhook(database, by.user, webhook, now=time.time())

    return routes
