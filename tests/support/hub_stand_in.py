"""A small stand-in of the Hugging Face hub for one data set: creation, commits, downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

NAME = "me/data"
COMMIT = "0123456789012345678901234567890123456789"


@dataclass
class Hub:
    """What was created and received. ``public``: of the existing data set; ``None``: there is none."""

    url: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    public: bool | None = None
    refuse: bool = False
    token_holds: bool = True


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.hub.refuse:
            return self.say({"error": "You don't have the rights"}, 403)
        if self.path == "/api/repos/create":
            self.hub.created.append(json.loads(body))
            self.hub.public = self.hub.created[-1]["visibility"] != "private"
            return self.say({"url": f"{self.hub.url}/datasets/{NAME}", "id": NAME})
        if self.path == "/api/validate-yaml":
            return self.say({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            names = [each["path"] for each in json.loads(body)["files"]]
            return self.say(
                {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
            )
        assert self.path.startswith(f"/api/datasets/{NAME}/commit/main")
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self.say({"commitUrl": f"{self.hub.url}/datasets/{NAME}/commit/{COMMIT}", "commitOid": COMMIT})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith(f"/datasets/{NAME}/resolve/{COMMIT}/"):
            return self.send(self.hub.files.get(path.removeprefix(f"/datasets/{NAME}/resolve/{COMMIT}/")))
        if path == f"/api/datasets/{NAME}/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.hub.files.items()
            ]
            return self.say(tree)
        if path == "/api/whoami-v2":
            held = self.hub.token_holds
            return self.say({"name": "me"} if held else {"error": "Invalid user token."}, 200 if held else 401)
        known = path in (f"/api/datasets/{NAME}", f"/api/datasets/{NAME}/revision/main")
        if not known or self.hub.public is None:
            return self.say({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        siblings = [{"rfilename": name} for name in self.hub.files]
        return self.say({"id": NAME, "sha": COMMIT, "private": not self.hub.public, "siblings": siblings, "tags": []})

    do_HEAD = do_GET

    def send(self, content: bytes | None) -> None:
        if content is None:
            return self.say({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha256(content).hexdigest()
        return self.say(content, 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})

    def say(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        lengths = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in {**lengths, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def hub_stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that ``huggingface_hub`` talks to until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield hub
    server.shutdown()
    server.server_close()
