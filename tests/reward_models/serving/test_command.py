"""``keel serve``: what is on the command line, and what is wrong with it. TLS, and reloading by a signal."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path

import httpx2
import pytest
import uvicorn
from live_server import model_loader
from typer.testing import CliRunner

from keel.cli import app
from reward_models.serving.app import build
from reward_models.serving.limits import Limits
from reward_models.serving.metrics import Metrics
from reward_models.serving.registry import Registry
from reward_models.serving.server import Address, Server, serve


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to serve: give --model NAME=DIR or --mixer NAME=CONFIG"),
        (["--model", "runs/x"], "--model runs/x: write NAME=PATH"),
        (["--model", "a=runs/x", "--mixer", "a=cpu"], "--mixer a=cpu: the name a is taken"),
        (["--model", "a=runs/nothing"], "no directory runs/nothing"),
        (["--model", "a=runs/nothing", "--host", "0.0.0.0"], "KEEL_SERVE_TOKEN"),
        (["--model", "a=x", "--certificate", "a.pem", "--key", "b.pem"], "no file a.pem"),
        (["--model", "a=x", "queue=5"], "queue=5 is smaller than one request may be, conversations=1024"),
        (["--mixer", "a=nothing"], "no configuration file or preset nothing"),
    ],
)
def test_what_is_wrong_with_the_command_line(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEEL_SERVE_TOKEN", raising=False)
    done = CliRunner().invoke(app, ["serve", *words])
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_tls(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(words, check=True, capture_output=True)
    started: list[Server] = []
    startup = Server.startup

    async def remembered(server: Server, sockets: list | None = None) -> None:
        await startup(server, sockets)
        started.append(server)

    monkeypatch.setattr(Server, "startup", remembered)
    metrics = Metrics()
    registry = Registry({"model": lambda: model_loader("model", models["helpful"])(metrics)}, metrics)
    address = Address(host="127.0.0.1", port=0, certificate=certificate, key=key)
    thread = threading.Thread(target=serve, args=(registry, address, Limits(), metrics), daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not started and time.monotonic() < until:
        time.sleep(0.01)
    port = started[0].servers[0].sockets[0].getsockname()[1]
    trusted = ssl.create_default_context(cafile=str(certificate))
    assert httpx2.get(f"https://localhost:{port}/models", verify=trusted).json()["models"][0]["name"] == "model"
    with pytest.raises(httpx2.HTTPError):
        httpx2.get(f"http://localhost:{port}/models")
    started[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def test_hangup_loads_anew(models: dict[str, Path]) -> None:
    """The server in the main thread, as a program has it; signals come from another."""
    metrics = Metrics()
    registry = Registry({"model": lambda: model_loader("model", models["helpful"])(metrics)}, metrics)
    before = registry.get("model")[1]
    config = uvicorn.Config(build(registry, Limits(), metrics), port=0, log_level="warning")
    server = Server(config, registry, metrics, 5.0)
    after: list[object] = []

    def signals() -> None:
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGHUP)
        while registry.get("model")[1] is before and time.monotonic() < until:
            time.sleep(0.01)
        after.append(registry.get("model")[1])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=signals, daemon=True).start()
    server.run()
    assert after
    assert after[0] is not before
    assert registry.draining
    assert metrics.registry.get_sample_value("keel_reloads_total", {"model": "model", "outcome": "done"}) == 1
