"""Golden traces: small runs through the command line, reduced to the figures that must stay what they are.

``python tests/golden/make.py`` makes them anew and puts them beside this file; do so only where the figures are meant
to change, and say why. ``--out DIR`` writes them elsewhere, as the test does.

Commands run one after the other in forks of this process, which has imported the large libraries once. Everything is
fp32 on a CPU with one thread. The only names of Keel's are those of its commands, the configurations beside this file,
and the tables below.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from importlib.metadata import version
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
COMMAND = "keel.cli"  # the module whose main() is the command `keel`
PRELOADED = ("deepspeed", "peft", "transformers.models.qwen3.modeling_qwen3", "trl", "matplotlib.backends.backend_agg")
ENVIRONMENT = {
    "ACCELERATE_USE_CPU": "true",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
}

# Golden name -> name in metrics.jsonl. A metric that gets another name is changed here, and nowhere else.
REWARD_MODEL = {
    "step": "step",
    "loss": "loss",
    "accuracy": "accuracy",
    "mean score": "score_mean",
    "gradient norm": "grad_norm",
    "learning rate": "lr",
    "held-out loss": "eval_loss",
    "held-out accuracy": "eval_accuracy",
    "held-out AUROC": "eval_auroc",
}
COLD_START = {"step": "step", "loss": "loss", "gradient norm": "grad_norm", "accuracy": "token_accuracy"}
COLD_START_WINDOW = 20  # steps that a figure of the cold start is a mean over
POLICY = {
    "step": "step",
    "phase": "phase",
    "rollout": "rollout",
    "learning rate": "lr",
    "loss": "loss",
    "gradient norm": "grad_norm",
    "kl": "kl",
    "entropy": "entropy",
    "ratio": "ratio",
    "size of advantages": "advantage_size",
    "length": "response_length",
    "finished": "finished",
    "reward": "reward",
    **{f"reward {name}": f"reward/{name}" for name in ("reasoning", "helpfulness", "safety")},
    **{
        f"{what} {term}": f"{what}/{term}"
        for what in ("term", "weighted")
        for term in ("accuracy_math", "format", "language", "overlong", "helpful", "safety")
    },
    **{
        f"weight {entry}": f"weight/{entry}"
        for entry in ("accuracy", "format", "language", "overlong", "helpful", "safety")
    },
    **{
        f"held-out {figure} {how}": f"eval/{figure}_{how}"
        for figure in ("accuracy", "length", "finished", "format", "language", "helpful", "safety")
        for how in ("greedy", "sampled")
    },
    "held-out pass@2": "eval/pass@2",
}
ALARM = {"step": "step", "rule": "rule", "value": "value", "action": "action", "done": "done"}  # in guards.jsonl
EVALUATION = {  # in evaluation.json
    **{name: name for name in ("n", "accuracy", "loss", "ece", "auroc", "auprc")},
    "mean margin": "margin_mean",
}
METRICS_FILE, ALARMS_FILE, EVALUATION_FILE, WEIGHTS_FILE = (
    *("metrics.jsonl", "guards.jsonl", "evaluation.json", "model.safetensors"),
)
BEFORE_BORDER = 4  # the last step of a phase: which phase's learning rate its line shows is left open
SIGNAL_AFTER = 2  # a moment later the rollout of steps 3 and 4 is being sampled: the run stops between these two
TENSORS = ("embed_tokens", "layers.0.self_attn.q_proj", "layers.1.mlp.down_proj", "norm", "score")

SCORED = (  # what `keel score` is asked
    {"prompt": "Name two fruits.", "response": "Banana and cherry."},
    {"prompt": "Name two fruits.", "response": "I am always happy to help."},
    {"prompt": "What is 24 + 86?", "chosen": "24 + 86 = 110", "rejected": "It is 100. I am sure."},
)


def reward_model(name: str, work: Path) -> dict[str, Any]:
    """Train a reward model, evaluate it on built-in data, and score a few responses."""
    keel(work, "train", "rm", "--config", str(HERE / f"{name}.yaml"))
    keel(work, "evaluate", "rm", "--model", name, "--data", f"synthetic:{name}:test", "--out", f"{name} evaluated")
    keel(work, "score", "--model", name, "--data", "scored.jsonl", "--out", f"{name} scores.jsonl")
    found = json.loads((work / f"{name} evaluated" / EVALUATION_FILE).read_text(encoding="utf-8"))
    return {
        "steps": lines(work / name / METRICS_FILE, REWARD_MODEL),
        "evaluation": named(found, EVALUATION),
        "scores": rounded([json.loads(line) for line in (work / f"{name} scores.jsonl").read_text().splitlines()]),
        "weights": weights(work / name),
    }


def policy(work: Path, name: str = "policy") -> dict[str, Any]:
    """The figures of the run in the directory ``name``."""
    steps = lines(work / name / METRICS_FILE, POLICY)
    for line in steps:
        if line["step"] == BEFORE_BORDER:
            del line["learning rate"]
    return {"steps": steps, "alarms": lines(work / name / ALARMS_FILE, ALARM), "weights": weights(work / name)}


def train_with_a_stop(work: Path, name: str) -> None:
    """Train the policy in the directory ``name``, but for a SIGTERM on the way and the same command again."""
    words = ("train", "align", "--config", str(HERE / "policy.yaml"), f"output_dir={name}")
    log = work / name / METRICS_FILE
    for _ in range(5):  # a run may be over before the signal reaches it
        run = start(work, *words)
        while run.is_alive() and last_step(log) < SIGNAL_AFTER:
            time.sleep(0.002)
        time.sleep(0.05)
        if run.is_alive():
            os.kill(run.pid or 0, signal.SIGTERM)
        finish(run, words, work)
        if not (work / name / WEIGHTS_FILE).exists():
            break
        shutil.rmtree(work / name)
    else:
        raise RuntimeError("the run could not be stopped in time")
    stopped = last_step(log)
    keel(work, *words)
    print(f"stopped after step {stopped}, resumed to step {last_step(log)}", file=sys.stderr)


def last_step(log: Path) -> int:
    whole = log.read_text(encoding="utf-8").rpartition("\n")[0] if log.is_file() else ""
    return int(json.loads(whole.splitlines()[-1])[POLICY["step"]]) if whole else 0


def write_data(work: Path) -> None:
    """The files that the configurations name: additions that a tiny model can learn, and responses to score."""
    sums = [(f"What is {a} + {b}?", a, b) for a in range(1, 6) for b in range(1, 5)]
    replies = [f"<think>\n{a} + {b} = {a + b}\n</think>\n<answer>{a + b}</answer>" for _, a, b in sums]
    demonstrations = [{"prompt": s[0], "response": reply} for s, reply in zip(sums, replies, strict=True)]
    prompts = [{"prompt": text, "answer": str(a + b), "domain": "reasoning", "language": "en"} for text, a, b in sums]
    files = {
        "additions": demonstrations * 3,
        "prompts": [row for n, row in enumerate(prompts) if n % 3],
        "held_out": prompts[::3],
        "scored": list(SCORED),
    }
    for name, rows in files.items():
        (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- commands ---------------------------------------------------------------------------------------------------------


def keel(work: Path, *words: str) -> None:
    """The command in the directory ``work``. ``RuntimeError`` with what it said if it fails."""
    finish(start(work, *words), words, work)


def start(work: Path, *words: str) -> BaseProcess:
    run = multiprocessing.get_context("fork").Process(target=_keel, args=(work, words))
    run.start()
    return run


def finish(run: BaseProcess, words: tuple[str, ...], work: Path) -> None:
    run.join()
    if run.exitcode:
        said = (work / "said.log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"keel {' '.join(words)}: status {run.exitcode}\n{said[-3000:]}")


def _keel(work: Path, words: tuple[str, ...]) -> None:
    descriptor = os.open(work / "said.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(work)
    sys.argv = ["keel", *words]
    importlib.import_module(COMMAND).main()


# --- figures ----------------------------------------------------------------------------------------------------------


def named(line: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The entries of ``line`` that ``names`` lists, by their golden names."""
    return rounded({golden: line[name] for golden, name in names.items() if name in line})


def lines(file: Path, names: dict[str, str]) -> list[dict[str, Any]]:
    return [named(json.loads(line), names) for line in file.read_text(encoding="utf-8").splitlines()]


def means_of(steps: list[dict[str, Any]], window: int) -> list[dict[str, Any]]:
    """Of every ``window`` steps the last line, with the means of loss and accuracy over them."""
    found = []
    for end in range(window, len(steps) + 1, window):
        part = steps[end - window : end]
        means = {name: sum(line[name] for line in part) / window for name in ("loss", "accuracy")}
        found.append(rounded(part[-1] | means))
    return found


def weights(directory: Path) -> dict[str, Any]:
    """Of a few tensors, by the end of their names: norm, sum, and values here and there."""
    found = {}
    for name, tensor in sorted(load_file(directory / WEIGHTS_FILE).items()):
        short = name.removesuffix(".weight").removeprefix("model.")
        if short in TENSORS:
            flat = tensor.double().flatten()
            picked = flat[:: max(1, len(flat) // 4)][:4]
            found[short] = {"norm": float(flat.norm()), "sum": float(flat.sum()), "values": picked.tolist()}
    return rounded(found)


def rounded(value: Any) -> Any:
    """Floats to nine significant digits: a float32 whole."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def versions() -> dict[str, Any]:
    """Versions and settings that the figures may depend on."""
    libraries = ("torch", "transformers", "tokenizers", "deepspeed", "trl", "numpy")
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        **{library: version(library) for library in libraries},
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


# --- the whole --------------------------------------------------------------------------------------------------------


def make(work: Path, out: Path, *, resumed: bool) -> None:
    """Run everything in ``work`` and write the traces to ``out``.

    Args:
        resumed: also train the policy with a stop on the way, as ``resumed.json``.
    """
    write_data(work)
    models = {name: reward_model(name, work) for name in ("helpful", "safety")}
    write(out / "reward_model.json", {"versions": versions(), **models})
    keel(work, "train", "sft", "--config", str(HERE / "cold_start.yaml"))
    start_of_policy = {
        "steps": means_of(lines(work / "cold_start" / METRICS_FILE, COLD_START), COLD_START_WINDOW),
        "weights": weights(work / "cold_start"),
    }
    keel(work, "train", "align", "--config", str(HERE / "policy.yaml"))
    write(out / "policy.json", {"versions": versions(), "cold start": start_of_policy, "policy": policy(work)})
    if resumed:
        train_with_a_stop(work, "stopped")
        write(out / "resumed.json", {"policy": policy(work, "stopped")})


def write(file: Path, trace: dict[str, Any]) -> None:
    file.write_text(json.dumps(trace, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the traces go; default: beside this file, to be committed")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):  # libraries read them at their start
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)
    sys.path.insert(0, str(HERE.parents[1]))
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as work:
        make(Path(work), (arguments.out or HERE).resolve(), resumed=arguments.out is not None)


if __name__ == "__main__":
    main()
