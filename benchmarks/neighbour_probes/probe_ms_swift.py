"""ms-swift: two steps of its ``swift rlhf --rlhf_type grpo`` on a policy of random weights, with our plugin file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tiny_policy
from probe import LANGUAGE, SAMPLES, Report, arguments, expected, raises, same

STEPS = 2
PLUGIN = """
import json
from align.bridges.ms_swift import MixedReward, register

register()
scored = MixedReward.__call__


def recorded(self, *arguments, **columns):
    values = scored(self, *arguments, **columns)
    with open("scored.jsonl", "a") as file:
        file.write(json.dumps(values) + "\\n")
    return values


MixedReward.__call__ = recorded
"""


def scored() -> list[float]:
    """By ms-swift's ``compute_rewards_per_func`` with the class that our plugin has registered."""
    import torch
    from swift.rewards import orms
    from swift.rl_core.data import GRPOSample
    from swift.rl_core.grpo_algorithm import compute_rewards_per_func

    samples = [
        GRPOSample(
            messages=[{"role": "user", "content": question}, {"role": "assistant", "content": response}],
            extra={"solution": answer, "language": LANGUAGE},
            prompt_id=question,
            request_id=str(place),
            response_token_ids=[list(response.encode())],
            finish_reason="stop",
        )
        for place, (question, answer, response) in enumerate(SAMPLES)
    ]
    function = orms["keel"](args=SimpleNamespace())
    found = compute_rewards_per_func(samples, [function], [None], torch.device("cpu"), SimpleNamespace(global_step=0))
    return list(found[:, 0].tolist())


def trained(work: Path, policy: Path, *options: str) -> list[dict[str, Any]]:
    """What ``swift rlhf`` logs at each step."""
    (work / "keel_plugin.py").write_text(PLUGIN)
    (work / "scored.jsonl").unlink(missing_ok=True)
    rows = [
        {"messages": [{"role": "user", "content": question}], "solution": answer, "language": LANGUAGE}
        for question, answer, _ in SAMPLES
    ]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "rlhf_type": "grpo",
        "model": str(policy),
        "model_type": "qwen3",
        "template": "qwen3",
        "tuner_type": "full",
        "dataset": str(work / "rows.jsonl"),
        "torch_dtype": "float32",
        "max_steps": str(STEPS),
        "per_device_train_batch_size": "4",
        "gradient_accumulation_steps": "1",
        "num_generations": "4",
        "max_length": "256",
        "max_completion_length": "16",
        "logging_steps": "1",
        "save_strategy": "no",
        "eval_strategy": "no",
        "dataset_num_proc": "1",
        "dataloader_num_workers": "0",
        "report_to": "none",
        "use_vllm": "false",
        "output_dir": str(work / "run"),
        "use_hf": "true",
    }
    line = [str(Path(sys.executable).with_name("swift")), "rlhf"]
    line += [word for name, value in settings.items() for word in (f"--{name}", value)]
    rewards = work / "rewards_of_any_text.yaml"  # the language of random bytes cannot be told
    rewards.write_text("rewards: [{term: accuracy}, {term: format, weight: 0.5}]\n")
    variables = os.environ | {
        "KEEL_REWARD": str(rewards),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run([*line, *options], cwd=work, env=variables, capture_output=True, text=True, check=False)
    print(done.stdout[-3000:], done.stderr[-3000:])
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    logs = sorted((work / "run").rglob("logging.jsonl"), key=lambda file: file.stat().st_mtime)
    return [json.loads(text) for text in logs[-1].read_text().splitlines()]


def main() -> None:
    given, report = arguments(), Report()
    with report.cell("imports"):
        import swift.rlhf_trainers  # noqa: F401

        from align.bridges.ms_swift import register

        register()
    with report.cell("scores_equal"):
        same(scored(), expected())
    policy = tiny_policy.save(given.work / "policy")
    plugin = ("--external_plugins", "keel_plugin.py")
    with report.cell("steps", steps=STEPS):
        rows = trained(given.work, policy, *plugin, "--reward_funcs", "keel")
        logged = [row["reward"] for row in rows if "reward" in row]
        scored_rows = [json.loads(text) for text in (given.work / "scored.jsonl").read_text().splitlines()]
        means = [sum(values) / len(values) for values in scored_rows]
        assert len(logged) == len(means) == STEPS, (logged, scored_rows)
        assert all(abs(a - b) < 1e-4 for a, b in zip(logged, means, strict=True)), (logged, means)
    note = "swift refuses a reward function that no plugin has registered"
    with report.cell("loud", note), raises(RuntimeError, "keel"):
        trained(given.work, policy, "--reward_funcs", "keel")
    report.write(given.out)


if __name__ == "__main__":
    main()
