"""Items, saved views, votes and their history over the REST interface."""

from __future__ import annotations

import json
from typing import Any

from annotation_api import NOW, headers, judge
from fastapi.testclient import TestClient
from sqlalchemy import select

from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Item


def test_items_are_read_page_by_page_once_each(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "rev", "read")
    for sort, first in (("oldest", 1), ("newest", 6), ("shortest", 1), ("longest", 6)):
        seen: list[int] = []
        cursor = None
        while True:
            asked = {"sort": sort, "limit": 4} | ({"cursor": cursor} if cursor else {})
            page = client.get("/api/v1/projects/p/items", params=asked, headers=sent).json()
            seen += [item["item"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert (seen[0], sorted(seen)) == (first, [1, 2, 3, 4, 5, 6])
    first_page = client.get("/api/v1/projects/p/items?limit=2", headers=sent).json()
    other = client.get(f"/api/v1/projects/p/items?sort=newest&cursor={first_page['next']}", headers=sent)
    assert (other.status_code, "cursor" in other.json()["error"]["message"]) == (422, True)


def test_filters_find_what_was_judged(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "rev", "read")
    for who, said in (("ann", {"label": "tie"}), ("bob", {"label": "both_bad"}), ("ann", {"label": "tie"})):
        judge(filled, who, **said)

    def found(**asked: Any) -> set[int]:
        reply = client.get("/api/v1/projects/p/items", params=asked, headers=sent)
        assert reply.status_code == 200, reply.text
        return {item["item"] for item in reply.json()["items"]}

    everything = {1, 2, 3, 4, 5, 6}
    split = found(agreement="disagree")
    assert len(split) == 1
    assert found(label="both_bad") == split == found(annotator="bob")
    ties = found(label="tie")
    assert len(ties) == 2
    assert found(label="tie", annotator="bob") == set()
    assert found(agreement="one vote") == ties - split
    assert found(agreement="no vote") == everything - ties
    assert found(agreement="agree") == set()
    assert found(guideline=1) == ties
    assert found(guideline=2) == set()
    assert found(decided=True) == set()
    assert found(decided=False) == everything
    assert found(source="made up") == everything
    assert found(source="made") == set()
    length = len("question 0") + len("first 0") + len("second 0")
    assert found(shortest=length, longest=length) == everything
    assert found(longest=length - 1) == set()
    assert found(q="QUESTION 3") == {4}
    assert found(q="quest*", shortest=1) == everything


def test_views_are_saved_shared_used_and_removed(client: TestClient, filled: Database) -> None:
    path = "/api/v1/projects/p/views"
    rev, root = headers(filled, "rev"), headers(filled, "root")
    kept = {"q": "question", "agreement": "no vote", "decided": False, "shortest": 1}
    asked = {"name": "open ones", "shared": True, "filter": kept | {"label": "", "sort": "oldest"}}
    made = client.post(path, json=asked, headers=rev)
    shown = {"name": "open ones", "author": "rev", "shared": True, "own": True, "removable": True, "filter": kept}
    assert (made.status_code, made.json()) == (201, {"view": 1, **shown})
    mine = client.post(path, json={"name": "mine"}, headers=rev).json()
    assert (mine["shared"], mine["filter"]) == (False, {})
    replaced = client.post(path, json={"name": "mine", "filter": {"label": "tie"}}, headers=rev).json()
    assert (replaced["view"], replaced["filter"]) == (mine["view"], {"label": "tie"})
    [seen] = client.get(path, headers=root).json()["views"]  # shared by another
    assert seen == {"view": 1, **shown, "own": False}
    [other] = client.get(path, headers=headers(filled, "chief", "read")).json()["views"]
    assert len(client.get(path, headers=rev).json()["views"]) == 2
    found = client.get("/api/v1/projects/p/items", params=other["filter"], headers=rev).json()["items"]
    assert len(found) == 6
    wrong = (
        {"name": ""},
        {"name": "x" * 61},
        {"name": " x"},
        {"name": "x", "filter": {"limit": 5}},
        {"name": "x", "filter": {"agreement": "never"}},
        {"name": "x", "filter": {"model_view": "with", "shortest": -1}},
        {"name": "x", "filter": {"q": "*"}},
        {"name": "x", "shared": "yes"},
    )
    for body in wrong:
        assert client.post(path, json=body, headers=rev).status_code == 422, body
    assert client.delete(f"{path}/{mine['view']}", headers=root).status_code == 404  # not shared: nobody else's
    assert client.delete(f"{path}/1", headers=root).status_code == 204
    assert client.delete(f"{path}/1", headers=rev).status_code == 404
    assert [view["name"] for view in client.get(path, headers=rev).json()["views"]] == ["mine"]


def test_an_item_shows_its_history_and_nothing_is_lost_in_it(client: TestClient, filled: Database) -> None:
    judge(filled, "ann", label="left", strength=3, rationale="shorter")
    past = annotating.history(filled, "ann", "p")[0].judgement
    annotating.edit(filled, "ann", "p", past, {"label": "tie"}, now=NOW)
    with filled.read() as session:
        number = session.scalar(select(Item.id).where(Item.taken > 0))
    item = client.get(f"/api/v1/projects/p/items/{number}", headers=headers(filled, "rev", "read")).json()
    assert [(said["choice"], said["in_force"]) for said in item["history"]] == [
        (item["history"][0]["shown_left"], False),
        ("tie", True),
    ]
    assert item["history"][0]["rationale"] == "shorter"
    assert [response["model"] for response in item["responses"]] == ["model-x", "model-y"]


def test_votes_are_streamed_and_pseudonymised(client: TestClient, filled: Database) -> None:
    judge(filled, "ann", label="tie", rationale="why")
    sent = headers(filled, "rev", "export")
    reply = client.get("/api/v1/projects/p/votes", headers=sent)
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    [row] = [json.loads(line) for line in reply.text.splitlines()]
    assert (row["annotator"], row["choice"], row["rationale"]) == ("ann", "tie", "why")
    hidden = [client.get("/api/v1/projects/p/votes?pseudonyms=true", headers=sent).json()["annotator"] for _ in "ab"]
    assert hidden[0] == hidden[1] != "ann"
    assert client.get("/api/v1/projects/p/votes?snapshot=none", headers=sent).status_code == 422
    root = headers(filled, "root", "export")
    assert client.post("/api/v1/projects/p/snapshots", json={"name": "s1"}, headers=root).json() == {"snapshot": "s1"}
    assert client.get("/api/v1/projects/p/votes?snapshot=s1", headers=sent).json()["choice"] == "tie"
    assert client.get("/api/v1/projects/p/export?snapshot=s1", headers=sent).text == ""  # a tie is no training row


def test_agreement_is_asked_for_where_verdicts_are_labels(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "root")
    client.post("/api/v1/projects", json={"name": "q", "kind": "ranking"}, headers=sent)
    for agreement, status in (("agree", 422), ("disagree", 422), ("one vote", 200), ("no vote", 200)):
        reply = client.get("/api/v1/projects/q/items", params={"agreement": agreement}, headers=sent)
        assert reply.status_code == status, agreement
