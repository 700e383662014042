"""vLLM's build for CPUs: a reward model of ours behind its server, asked by ``RemoteReward`` in both protocols."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from probe import SAMPLES, Report, arguments, free_port, our_model, raises, same, server

VARIABLES = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


def scored(url: str, model: Path, protocol: str, check: str = "scores") -> list[float | None]:
    """Raw scores by the client; it compares the server with the model on the disk before the first one."""
    from align.rewards.models.remote import RemoteReward
    from align.rewards.terms import Sample
    from reward_models.data.records import Message

    term: Any = RemoteReward(
        task="preference", urls=[url], protocol=protocol, model="keel", reference=str(model), value="raw", check=check
    )
    samples = [
        Sample(prompt=(Message("user", question),), response=response, domain="helpfulness", tokens=1, finished=True)
        for question, _, response in SAMPLES
    ]
    return asyncio.run(term.score(samples))


def served(model: Path, port: int, *options: str) -> list[str]:
    line = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    line += ["--served-model-name", "keel", "--host", "127.0.0.1", "--port", str(port)]
    return [*line, "--dtype", "float32", "--enforce-eager", "--max-model-len", "512", *options]


def main() -> None:
    given, report = arguments(), Report()
    with report.cell("imports"):
        import vllm  # noqa: F401

        import align.rewards.models.remote
    model, scores = our_model(given)
    port = free_port()
    url, variables = f"http://127.0.0.1:{port}", os.environ | VARIABLES
    with report.cell("scores_equal"), server(served(model, port), variables, url, given.work / "vllm.log"):
        note = "passes of a batch of samples: /classify and /pooling; vLLM serves, and has no training step"
        with report.cell("steps", note, steps=2):
            same(scored(url, model, "vllm_classify"), scores, 1e-4)  # type: ignore[arg-type]
            same(scored(url, model, "vllm_pooling"), scores, 1e-4)  # type: ignore[arg-type]
        assert report.cells["steps"] == 2, report.notes
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    sigmoid = ("--hf-overrides", '{"problem_type": null}')  # then a request for raw scores is all that avoids it
    note = "a model of another dtype or head is found by the check of scores before the first one"
    with report.cell("loud", note):
        from reward_models.runtime.config import ConfigError

        other = our_other_model(given)
        with server(served(other, port, *sigmoid), variables, url, given.work / "vllm_other.log"):
            errors = (align.rewards.models.remote.RewardServerError, ConfigError, ValueError)
            with raises(errors, ""):
                scored(url, model, "vllm_classify")
    report.write(given.out)


def our_other_model(given: Any) -> Path:
    """The same files with the head of another training: a server that was given the wrong directory."""
    import shutil

    from safetensors.torch import load_file, save_file

    other = given.work / "other"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(given.work / "model", other)
    file = other / "model.safetensors"
    weights = load_file(file)
    weights["score.weight"] = -weights["score.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    return other


if __name__ == "__main__":
    main()
