"""The REST interface: what its routes answer, to whom, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from annotation_api import NOW, Headers, application, headers
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from annotation_ui.api import service
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import ROLES, disable
from annotation_ui.store.database import Database
from annotation_ui.store.membership import add_member, set_members_only
from annotation_ui.store.projects import find_project
from annotation_ui.store.tables import Item
from annotation_ui.store.tokens import SCOPES, make_token

VALUES = {"project": "p", "item": "1", "name": "bob", "token": "1", "webhook": "1", "view": "1"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/projects": {"name": "new", "kind": "preference"},
    "/v1/projects/{project}": {"settings": {"votes_per_item": 3}},
    "/v1/projects/{project}/guidelines": {"text": "Be fair."},
    "/v1/projects/{project}/leases/release": {},
    "/v1/projects/{project}/snapshots": {},
    "/v1/projects/{project}/views": {"name": "split", "filter": {"agreement": "disagree"}},
    "/v1/users": {"name": "new", "password": "correct horse"},
    "/v1/users/{name}": {"role": "reviewer"},
    "/v1/tokens": {"name": "x", "scopes": ["read"]},
    "/v1/webhooks/{webhook}": {"active": False},
    "/v1/webhooks": {"url": "https://example.org/hook", "events": ["judged"]},
}
QUERIES = {"/v1/projects/{project}/export": "?snapshot=s1"}


def routes() -> list[tuple[str, str, str | None, list[str]]]:
    """Method, path, scope and roles of every route, from the routes themselves."""
    found = []
    for make in service.ROUTES:
        for route in make(None).routes:  # type: ignore[arg-type]
            assert isinstance(route, APIRoute)
            extra, path = route.openapi_extra or {}, service.VERSION + route.path
            found += [(method, path, extra["x-scope"] or None, extra["x-roles"]) for method in sorted(route.methods)]
    return found


def send(client: TestClient, method: str, path: str, sent: Headers) -> int:
    address = service.PREFIX + path.format(**VALUES) + QUERIES.get(path, "")
    body = BODIES.get(path) if method in ("POST", "PATCH") else None
    return client.request(method, address, headers=sent, json=body).status_code


def test_every_route_is_known_to_the_matrix() -> None:
    assert len(routes()) >= 28
    assert {scope for _, _, scope, _ in routes()} == {None, *SCOPES}


@pytest.mark.parametrize(("method", "path", "scope", "roles"), routes())
def test_every_route_by_role_and_scope(
    filled: Database, method: str, path: str, scope: str | None, roles: list[str]
) -> None:
    """401 without a token, 403 for a scope or role that is not the route's, and neither of them for all others."""
    with TestClient(application(filled), raise_server_exceptions=False) as client:
        assert send(client, method, path, {}) == 401
        assert send(client, method, path, {"Authorization": "Bearer keel_guess"}) == 401
        people = {"annotator": "ann", "reviewer": "rev", "admin": "root"}
        for role in sorted(ROLES, key=lambda role: role in roles):  # those that may change something come last
            held = [scope] if scope else ["read"]
            others = [other for other in SCOPES if other != scope]
            if scope is not None:
                assert send(client, method, path, headers(filled, people[role], *others)) == 403, role
            status = send(client, method, path, headers(filled, people[role], *held))
            assert (status == 403) == (role not in roles), (role, status)
            assert status not in (401, 500), (role, status)


def test_a_token_of_a_disabled_account_and_one_that_expired_do_not_hold(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "root")
    assert client.get("/api/v1/me", headers=sent).json() == {"name": "root", "scopes": list(SCOPES)}
    with filled.write() as session:
        _, old = make_token(session, "root", "old", ["read"], days=1, by="root", now=NOW)
        disable(session, "root", now=NOW)
    for wrong in (sent, {"Authorization": f"Bearer {old}"}, {"Authorization": "Basic x"}, {"Authorization": "é"}):
        encoded = {name: value.encode("latin-1") for name, value in wrong.items()}
        reply = client.get("/api/v1/me", headers=encoded)  # type: ignore[arg-type]
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")


def test_projects_are_made_changed_and_archived(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "root")
    made = client.post("/api/v1/projects", json={"name": "q", "kind": "safety"}, headers=sent)
    assert (made.status_code, made.json()["kind"], made.json()["settings"]["votes_per_item"]) == (201, "safety", 1)
    changed = client.patch(
        "/api/v1/projects/q",
        json={"settings": {"votes_per_item": 4}, "members_only": True, "archived": True},
        headers=sent,
    ).json()
    assert (changed["settings"]["votes_per_item"], changed["members_only"]) == (4, True)
    assert changed["archived"] > NOW
    assert client.post("/api/v1/projects/q/guidelines", json={"text": "New."}, headers=sent).json() == {"version": 2}
    versions = client.get("/api/v1/projects/q/guidelines", headers=sent).json()["guidelines"]
    assert [version["version"] for version in versions] == [2, 1]
    for wrong, status in (
        ({"settings": {"votes_per_item": 0}}, 422),
        ({"settings": {"votes": 2}}, 422),
        ({"settings": {"eval_fraction": 0.5}}, 422),
        ({"kind": "preference"}, 422),
    ):
        assert client.patch("/api/v1/projects/q", json=wrong, headers=sent).status_code == status, wrong
    progress = client.get("/api/v1/projects/p/progress", headers=sent).json()
    assert (progress["items"], progress["votes_needed"], progress["days_left"]) == (6, 12, None)


def test_a_project_for_members_is_unknown_to_others(client: TestClient, filled: Database) -> None:
    with filled.write() as session:
        set_members_only(session, find_project(session, "p"), True, by="root", now=NOW)
        add_member(session, find_project(session, "p"), "ann", by="root", now=NOW)
    outsider, member = headers(filled, "rev"), headers(filled, "ann")
    assert client.get("/api/v1/projects/p", headers=member).json()["members"] == []  # names are for reviewers
    assert client.get("/api/v1/projects/p", headers=member).json()["warnings"] == []  # and so is the number of checks
    assert client.get("/api/v1/projects", headers=outsider).json() == {"projects": []}
    for path in ("", "/items", "/items/1", "/views", "/votes", "/progress", "/guidelines", "/export?snapshot=x"):
        reply = client.get(f"/api/v1/projects/p{path}", headers=outsider)
        unknown = client.get(f"/api/v1/projects/z{path}", headers=outsider)
        assert (reply.status_code, unknown.status_code) == (404, 404), path
        assert reply.json()["error"]["message"].replace("'p'", "'z'") == unknown.json()["error"]["message"]
    root = headers(filled, "root")
    assert client.put("/api/v1/projects/p/members/rev", headers=root).status_code == 204
    assert client.get("/api/v1/projects/p/items", headers=outsider).status_code == 200
    assert client.delete("/api/v1/projects/p/members/rev", headers=root).status_code == 204
    assert client.delete("/api/v1/projects/p/members/rev", headers=root).status_code == 422
    assert client.put("/api/v1/projects/p/members/nobody", headers=root).status_code == 404


def test_leases_are_listed_and_released(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "root")
    for who in ("ann", "bob"):
        assert annotating.next_task(filled, who, "p", now=NOW) is not None
    leases = client.get("/api/v1/projects/p/leases", headers=sent).json()["leases"]
    assert [(lease["annotator"], lease["count"]) for lease in leases] == [("ann", 1), ("bob", 1)]
    released = client.post("/api/v1/projects/p/leases/release", json={"annotator": "ann"}, headers=sent)
    assert released.json() == {"released": 1}
    with filled.read() as session:
        assert session.scalar(select(func.sum(Item.taken))) == 1
    assert client.post("/api/v1/projects/p/leases/release", json={}, headers=sent).json() == {"released": 1}
    assert client.get("/api/v1/projects/p/leases", headers=sent).json() == {"leases": []}


def test_the_last_admin_stays_one(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "root")
    assert client.patch("/api/v1/users/chief", json={"active": False}, headers=sent).status_code == 204
    for change in ({"role": "annotator"}, {"active": False}):
        reply = client.patch("/api/v1/users/root", json=change, headers=sent)
        assert (reply.status_code, "last admin" in reply.json()["error"]["message"]) == (422, True)
    assert client.delete("/api/v1/users/root", headers=sent).status_code == 422
    assert client.delete("/api/v1/users/ann", headers=sent).json() == {"pseudonym": "person-1"}
    users = {user["name"]: user for user in client.get("/api/v1/users", headers=sent).json()["users"]}
    assert users["person-1"]["state"] == users["chief"]["state"] == "disabled"
    assert "password" not in users["root"]


def test_the_pages_use_their_session_and_other_sites_cannot(filled: Database) -> None:
    with TestClient(application(filled, lambda request: "rev")) as client:
        assert client.get("/api/v1/projects/p/items").status_code == 200
        assert client.get("/api/v1/projects/p/items", headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert client.get("/api/v1/users").status_code == 403


def test_the_specification_names_every_route_with_its_scope_and_roles(client: TestClient) -> None:
    found = client.get("/api/openapi.json").json()
    assert all(path.startswith("/api/v1/") for path in found["paths"])
    named = {
        (method.upper(), path, said["x-scope"] or None, tuple(said["x-roles"]))
        for path, methods in found["paths"].items()
        for method, said in methods.items()
    }
    assert named == {(method, "/api" + path, scope, tuple(roles)) for method, path, scope, roles in routes()}
    assert client.get("/api/openapi.json").json() == found


def test_a_project_of_an_unknown_kind_or_with_harms_that_do_not_fit_is_refused(
    client: TestClient, filled: Database
) -> None:
    sent = headers(filled, "root")
    for kind in ("poems", "../../../etc/passwd", "", 7):
        reply = client.post("/api/v1/projects", json={"name": "q", "kind": kind}, headers=sent)
        assert (reply.status_code, "kind" in reply.json()["error"]["message"]) == (422, True), kind
    harms = {"text": "Be fair.", "harms": ["x"]}
    reply = client.post("/api/v1/projects/p/guidelines", json=harms, headers=sent)
    assert (reply.status_code, "only safety" in reply.json()["error"]["message"]) == (422, True)
    client.post("/api/v1/projects", json={"name": "q", "kind": "safety"}, headers=sent)
    for wrong in ([], ["a", "a"], ["a", " "], ["two\nlines"], [str(n) for n in range(31)]):
        reply = client.post("/api/v1/projects/q/guidelines", json=harms | {"harms": wrong}, headers=sent)
        assert (reply.status_code, "harms" in reply.json()["error"]["message"]) == (422, True), wrong
    assert client.get("/api/v1/projects/q", headers=sent).json()["guideline_version"] == 1


def test_a_key_that_is_half_of_a_character_and_a_webhook_that_is_not_there(
    client: TestClient, filled: Database
) -> None:
    sent = headers(filled, "root")
    reply = client.post("/api/v1/users", content=b'{"name": "x", "\\ud800": 1}', headers=sent)
    assert (reply.status_code, "message" in reply.json()["error"]) == (422, True)
    assert client.get("/api/v1/webhooks/7/deliveries", headers=sent).status_code == 404
