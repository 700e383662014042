"""``keel push`` against a small stand-in of the hub: what is uploaded, what stays, and the card's header."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, constants
from typer.testing import CliRunner, Result

from keel.cli import app
from keel.push import eval_results
from reward_models.evaluation.model_card import model_card

FIGURES = {
    "kind": "helpful",
    "n": 20,
    "by_source": {"pairs": {"n": 20, "accuracy": 0.71234}},
    "rewardbench": {"version": 1, "score": None, "sections": {"Chat": 0.9, "Safety": None}, "subsets": {}},
}


@dataclass
class Hub:
    """A hub that records requests: repositories created, files received, tokens. ``public``: true if the existing
    repository is public; ``None``: there is none."""

    url: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    refuse: bool = False
    public: bool | None = None


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The HTTP calls of huggingface_hub's create_repo and create_commit, weights by LFS."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.tokens.add(self.headers.get("Authorization"))
            if state.refuse:
                return self.say({"error": "You don't have the rights"}, 403)
            if self.path == "/api/repos/create":
                state.created.append(json.loads(body))
                return self.say({"url": f"{state.url}/me/model", "id": "me/model"})
            if self.path == "/api/validate-yaml":
                return self.say({"errors": [], "warnings": []})
            if "/preupload/" in self.path:
                names = [each["path"] for each in json.loads(body)["files"]]
                modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
                files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]
                return self.say({"files": files})
            if self.path.endswith("/objects/batch"):
                objects = json.loads(body)["objects"]
                upload = [{**o, "actions": {"upload": {"href": f"{state.url}/put/{o['oid']}"}}} for o in objects]
                return self.say({"transfer": "basic", "objects": upload})
            assert "/commit/" in self.path
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    state.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    state.files[line["value"]["path"]] = state.large[line["value"]["oid"]]
            return self.say({"commitUrl": f"{state.url}/me/model/commit/0123", "commitOid": "0123"})

        def do_GET(self) -> None:
            assert self.path == "/api/models/me/model"
            if state.public is None:
                return self.say({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return self.say({"id": "me/model", "private": not state.public, "siblings": [], "tags": []})

        def do_PUT(self) -> None:
            state.large[self.path.removeprefix("/put/")] = self.rfile.read(int(self.headers["Content-Length"]))
            self.say({})

        def say(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            lengths = {"Content-Type": "application/json", "Content-Length": str(len(content))}
            for name, value in {**lengths, **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", state.url)  # what HF_ENDPOINT sets when the library is imported
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # weights go by LFS, whose protocol is HTTP alone
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The files of a finished run, without a model in them."""
    run = tmp_path / "run"
    (run / "plots").mkdir(parents=True)
    (run / "checkpoints" / "step-2").mkdir(parents=True)
    manifest = {
        "task": "preference",
        "span": "summary",
        "calibration": {"n": 3},
        "config": {
            "model": {"path": "Qwen/Qwen3-0.6B"},
            "engine": {"lr": 1e-5, "dtype": "bf16"},
            "batch_size": 8,
            "epochs": 1.0,
            "seed": 0,
        },
        "data": {"sources": ["a.jsonl"], "counts": {}},
        "evaluation": {},
    }
    contents = {
        "README.md": model_card(manifest, []),
        "manifest.json": json.dumps(manifest),
        "evaluation.json": json.dumps({**FIGURES, "rewardbench": None}),
        "model.safetensors": "weights",
        "config.json": "{}",
        "tokenizer.json": "{}",
        "tokenizer_config.json": "{}",
        "chat_template.jinja": "{{ messages }}",
        "plots/roc.png": "png",
        "evaluation_scores.jsonl": "{}",
        "samples.jsonl": "private prompts",
        "nonfinite.safetensors": "samples",
        "checkpoints/step-2/model.safetensors": "no",
    }
    for name, content in contents.items():
        (run / name).write_text(content, encoding="utf-8")
    return run


def push(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["push", *map(str, words)])


def test_the_model_its_card_and_its_evaluation_are_uploaded_and_nothing_else(model: Path, hub: Hub) -> None:
    done = push(model, "me/model")
    assert done.exit_code == 0, done.output
    assert f"{hub.url}/me/model/commit/0123" in done.output
    assert hub.created == [{"name": "model", "organization": "me", "visibility": "private"}]
    assert hub.tokens == {"Bearer hf_secret"}
    assert hub.files.keys() == {
        *("README.md", "manifest.json", "evaluation.json", "model.safetensors", "config.json", "tokenizer.json"),
        *("tokenizer_config.json", "chat_template.jinja", "plots/roc.png"),
    }
    assert hub.files["model.safetensors"] == b"weights"
    card = ModelCard(hub.files["README.md"].decode())
    (entry,) = yaml.safe_load(hub.files["README.md"].decode().split("---")[1])["model-index"]
    assert entry["name"] == "model"
    (result,) = entry["results"]
    assert result["dataset"] == {"name": "pairs", "type": "pairs"}
    assert result["metrics"] == [{"type": "accuracy", "value": 0.7123}]
    assert card.data.base_model == "Qwen/Qwen3-0.6B"
    assert "# Helpful reward model" in card.text
    assert "model-index" not in (model / "README.md").read_text()


def test_a_dry_run_says_it_all_and_asks_the_hub_nothing(model: Path, hub: Hub) -> None:
    done = push(model, "me/model", "--dry-run", "--public")
    assert done.exit_code == 0, done.output
    assert not hub.tokens
    assert "→ me/model (PUBLIC)" in done.output
    assert "model.safetensors (7 B)" in done.output
    assert "not uploaded: checkpoints, evaluation_scores.jsonl, nonfinite.safetensors, samples.jsonl" in done.output


def test_another_evaluation_takes_the_place_of_the_models_own(model: Path, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(FIGURES))
    done = push(model, "me/model", "--public", "--evaluation", tmp_path / "bench.json")
    assert done.exit_code == 0, done.output
    assert hub.created[0]["visibility"] == "public"
    assert json.loads(hub.files["evaluation.json"])["rewardbench"]["sections"]["Chat"] == 0.9
    results = ModelCard(hub.files["README.md"].decode()).data.eval_results
    assert results is not None
    assert [(r.dataset_type, r.dataset_name, r.metric_value) for r in results] == [
        ("pairs", "pairs", 0.7123),
        ("allenai/reward-bench", "RewardBench Chat", 0.9),
    ]


def test_names_that_only_look_like_a_models_stay(model: Path, hub: Hub) -> None:
    for name in ("tokenizer.env", "notes.model", "vocab.key", "backup.safetensors", "secret.jinja", "plots/a.svg"):
        (model / name).write_text("private")
    (model / "model-00001-of-00002.safetensors").write_text("half")
    assert push(model, "me/model").exit_code == 0
    assert "model-00001-of-00002.safetensors" in hub.files
    assert not {"tokenizer.env", "notes.model", "vocab.key", "backup.safetensors", "plots/a.svg"} & hub.files.keys()
    assert not any(content == b"private" for content in hub.files.values())


@pytest.mark.parametrize("name", ["vocab.txt", "README.md", "plots/roc.png", "evaluation.json", "plots"])
def test_a_symbolic_link_is_refused(name: str, model: Path, hub: Hub, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "roc.png").write_text("private")
    path = model / name
    if path.is_dir():
        shutil.rmtree(path)
        path.symlink_to(elsewhere)
    else:
        path.unlink(missing_ok=True)
        path.symlink_to(elsewhere / "roc.png")
    (model / "linked").symlink_to(elsewhere)  # of no concern: it would not be uploaded
    done = push(model, "me/model")
    if name == "plots":  # its files are not reached
        assert "plots/roc.png" not in hub.files
        return
    assert done.exit_code == 2
    assert f"{name} is a symbolic link to {elsewhere / 'roc.png'}" in done.output
    assert not hub.files


def test_secrets_of_the_environment_are_refused(model: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "sk-0123456789")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:pw@host/db")
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["config"]["data"] = {"train": ["${oc.env:DATABASE_URL}"]}
    (model / "manifest.json").write_text(json.dumps(manifest))
    assert push(model, "me/model", "--dry-run").exit_code == 0
    manifest["data"]["sources"] = ["postgresql://me:pw@host/db"]
    (model / "manifest.json").write_text(json.dumps(manifest))
    done = push(model, "me/model")
    assert (done.exit_code, "environment variable DATABASE_URL" in done.output) == (2, True)
    assert "pw@host" not in done.output
    (model / "manifest.json").write_text(json.dumps(manifest | {"data": {}, "note": "sk-0123456789"}))
    done = push(model, "me/model")
    assert (done.exit_code, "environment variable JUDGE_API_KEY" in done.output) == (2, True)
    assert not hub.files


def test_nothing_private_goes_into_a_public_repository_unasked(model: Path, hub: Hub) -> None:
    hub.public = True
    done = push(model, "me/model")
    assert done.exit_code == 2
    assert "me/model is public" in done.output
    assert not hub.files
    assert push(model, "me/model", "--public").exit_code == 0
    hub.public = False
    assert push(model, "me/model").exit_code == 0
    assert not hub.created


def test_safety_figures() -> None:
    figures = {"kind": "safety", "by_source": {"a": {"auroc": 0.9, "auprc": 0.8, "f1": None}}}
    assert [(r.metric_type, r.metric_value) for r in eval_results(figures)] == [("auroc", 0.9), ("auprc", 0.8)]
    assert eval_results({}) == []


def test_a_policy_gets_a_card(tmp_path: Path, hub: Hub) -> None:
    run = tmp_path / "policy"
    run.mkdir()
    config = {"model": {"path": "Qwen/Qwen3-0.6B"}, "rewards": [{"term": "accuracy"}, {"term": "helpful"}]}
    (run / "policy.json").write_text(json.dumps({"config": config, "steps": 1700}))
    (run / "model.safetensors").write_text("weights")
    done = push(run, "me/model")
    assert done.exit_code == 0, done.output
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.tags == ["keel", "grpo"]
    assert "1,700 steps, with the rewards accuracy, helpful" in card.text


def test_what_cannot_be_is_refused(model: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, said in (
        ((tmp_path, "me/model"), "not a finished model"),
        ((model, "model"), "write owner/name"),
        ((model, "me/model", "--evaluation", tmp_path / "nothing.json"), "no evaluation at"),
    ):
        done = push(*words)
        assert done.exit_code == 2
        assert said in done.output
    hub.refuse = True
    done = push(model, "me/model")
    assert done.exit_code == 2
    assert "the hub refuses me/model" in done.output
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("keel.push.get_token", lambda: None)
    done = push(model, "me/model")
    assert done.exit_code == 2
    assert "hf auth login" in done.output
