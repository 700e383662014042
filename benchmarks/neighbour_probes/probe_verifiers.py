"""verifiers: its ``vf-eval`` over an environment whose rubric is the mixture; a stand-in endpoint is the model."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from probe import LANGUAGE, SAMPLES, Report, arguments, expected, same

OF_MIXTURE = "--env.taskset.task.rewards.keel.fn"
FUNCTION = "align.bridges.verifiers:reward"
ENVIRONMENT = '''
import json, pathlib
import verifiers.v1 as vf

class KeelProbeData(vf.TaskData):
    answer: str
    language: str

class KeelProbeTask(vf.Task[KeelProbeData]):
    """No reward of its own."""

class KeelProbeTaskset(vf.Taskset[KeelProbeTask, vf.TasksetConfig]):
    def load(self):
        rows = json.loads(pathlib.Path(__file__).with_name("rows.json").read_text())
        return [KeelProbeTask(KeelProbeData(**row), self.config.task) for row in rows]

__all__ = ["KeelProbeTaskset"]
'''


@contextmanager
def endpoint() -> Iterator[str]:
    """An OpenAI-compatible model that answers the n-th sample's prompt with its response; the address."""
    replies = {f"[{place}]": response for place, (_, _, response) in enumerate(SAMPLES)}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = body["messages"][-1]["content"]
            text = next(reply for mark, reply in replies.items() if mark in json.dumps(asked))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for chunk in chunks(body["model"], text):
                self.wfile.write(f"data: {chunk}\n\n".encode())

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()


def chunks(model: str, text: str) -> Iterator[str]:
    """A streamed chat completion."""
    head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": model}
    for delta, reason in (({"role": "assistant", "content": text}, None), ({}, "stop")):
        yield json.dumps(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    yield json.dumps(head | {"choices": [], "usage": usage})
    yield "[DONE]"


def rows() -> list[dict[str, str]]:
    marked = [(f"[{place}] {question}", answer) for place, (question, answer, _) in enumerate(SAMPLES)]
    return [{"prompt": prompt, "answer": answer, "language": LANGUAGE} for prompt, answer in marked]


def evaluated(work: Path, url: str, *options: str) -> list[dict[str, Any]]:
    """The traces that ``vf-eval`` writes, in the order of the tasks."""
    command = [str(Path(sys.executable).with_name("vf-eval")), "keel-probe", "--model", "stand-in"]
    command += ["--client.base-url", url, "--env.agent.harness.id", "null", "--env.agent.runtime.type", "subprocess"]
    command += ["--output-dir", str(work / "out"), "--run.name", "probe", "--clean", *options]
    path = os.pathsep.join([str(work), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=work, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-3000:])
    (file,) = (work / "out").rglob("traces.jsonl")
    episodes = [json.loads(line) for line in file.read_text().splitlines()]
    traces = [trace for episode in episodes for trace in episode["traces"]]
    return sorted(traces, key=lambda trace: trace["task"]["data"]["idx"])


def scored() -> list[float]:
    """By ``Task.score`` with the function plugged by the configuration, without an endpoint."""
    import verifiers.v1 as vf
    from keel_probe import KeelProbeTaskset

    config = vf.TasksetConfig(id="keel-probe", task={"rewards": {"keel": {"fn": FUNCTION}}})
    traces = []

    async def score_all() -> None:
        for task, (_, _, response) in zip(KeelProbeTaskset(config), SAMPLES, strict=True):
            nodes = [
                vf.MessageNode(message=vf.UserMessage(content=task.data.prompt)),
                vf.MessageNode(parent=0, sampled=True, message=vf.AssistantMessage(content=response)),
            ]
            told = vf.TraceTask(type=type(task).__name__, data=task.data)
            agent = vf.AgentInfo(config=vf.AgentConfig())
            traces.append(vf.Trace(task=told, agent=agent, nodes=nodes))
            await task.score(traces[-1])

    asyncio.run(score_all())
    return [trace.reward for trace in traces]


def main() -> None:
    given, report = arguments(), Report()
    (given.work / "keel_probe.py").write_text(ENVIRONMENT)
    (given.work / "rows.json").write_text(json.dumps(rows()))
    sys.path.insert(0, str(given.work))
    with report.cell("imports"):
        import verifiers.v1  # noqa: F401

        import align.bridges.verifiers  # noqa: F401
    with report.cell("scores_equal"):
        same(scored(), expected())
    note = "rollouts of vf-eval, its harness and endpoint client; the model is a stand-in server"
    with endpoint() as url:
        with report.cell("steps", note, steps=len(SAMPLES)):
            traces = evaluated(given.work, url, OF_MIXTURE, FUNCTION)
            same([trace["rewards"]["keel"]["score"] for trace in traces], expected())
        with report.cell("loud", "vf-eval refuses an unknown key and a function that it cannot import"):
            for wrong in (("--env.taskset.task.reward.keel.fn", FUNCTION), (OF_MIXTURE, "align.bridges.gone:reward")):
                try:
                    traces = evaluated(given.work, url, "--select.limit", "1", *wrong)
                except RuntimeError:
                    continue
                assert not any(trace["rewards"] or trace["ok"] for trace in traces), f"{wrong} was ignored"
    report.write(given.out)


if __name__ == "__main__":
    main()
