"""A stand-in for a SandboxFusion server: ``POST /run_code`` answers as it is told to, or runs Python programs.

Only for programs of tests: nothing here is isolated.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


def run(request: dict[str, Any]) -> tuple[int, Any]:
    """The program's run, in the server's layout."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in request["files"].items():
            (Path(folder) / name).write_bytes(base64.b64decode(content))
        (Path(folder) / "main.py").write_text(request["code"])
        done = subprocess.run(
            [sys.executable, "main.py"], cwd=folder, input=request["stdin"], capture_output=True, text=True, check=False
        )
    return 200, reply(stdout=done.stdout, stderr=done.stderr, return_code=done.returncode)


def reply(status: str = "Success", ran: str = "Finished", compiled: Any = None, **fields: Any) -> dict[str, Any]:
    """A reply of the server."""
    result = {"status": ran, "execution_time": 0.1, "return_code": 0, "stdout": "", "stderr": ""} | fields
    return {"status": status, "message": "", "compile_result": compiled, "run_result": result, "files": {}}


@contextmanager
def fusion(answer: Answer = run) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The server's URL, and the requests that it got."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"path": self.path})
            status, body = answer(requests[-1])
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
