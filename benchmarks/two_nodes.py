"""Two nodes and one give the same results; a node that is lost ends the run, and the run resumes.

    sudo python benchmarks/two_nodes.py --out benchmarks/results/two_nodes.json

The nodes are network namespaces of this machine (examples/clusters/local/nodes.sh), started by DeepSpeed's launcher
from a hostfile over ssh. A tiny reward model and a tiny policy are trained on one node with two ranks and on two nodes
with a rank each. It needs root, and the Debian packages openssh-server, pdsh, slurm-wlm and munge. ``ratio`` is the
time of the reward model's run on one node over its time on two, the start of both included.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from harness import ROOT, environment, parser, write
from safetensors.torch import load_file

RECIPES = ROOT / "examples" / "clusters"
NODES, SLURM = RECIPES / "local" / "nodes.sh", RECIPES / "local" / "slurm.sh"
BIN = Path(sys.executable).parent
HOSTFILE = "node1 slots=1\nnode2 slots=1\n"
SHAPE = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
COMMON: dict[str, Any] = {"loggers": [], "timeout_seconds": 60}
REWARD_MODEL: dict[str, Any] = {
    "model": {"config": SHAPE, "vocab_size": 400},
    "data": {"train": ["synthetic:helpful:train"], "limit": 300, "eval_fraction": 0.2},
    "batch_size": 16,
    "max_tokens": 512,
    "epochs": 4,
    "save_every": 10,
    "engine": {"dtype": "fp32", "lr": 1e-2, "zero_stage": 2},
}
POLICY: dict[str, Any] = {
    "prompts": {"train": ["synthetic:reasoning:train"], "limit": 20},
    "rewards": [{"term": "two_nodes:Letters"}, {"term": "format", "weight": 0.5}],
    "evaluation": {"data": ["synthetic:reasoning:test"], "limit": 3, "samples": 2},
    "steps": 8,
    "prompts_per_step": 2,
    "samples_per_prompt": 4,
    "steps_per_rollout": 2,
    "ref_update_steps": 4,
    "max_new_tokens": 10,
    "max_tokens": 120,
    "save_every": 3,
    "engine": {"dtype": "fp32", "lr": 3e-3, "zero_stage": 3},
}
# What happens after the first checkpoint. The shell of the first node becomes the launcher ($$).
EVENTS = {
    "stopped": "kill -INT $$",
    "processes_killed": "ssh node2 'kill -9 -1'",
    "power_cut": """ssh node2 "nohup sh -c 'sleep 0.2; ip link set eth0 down; kill -9 -1' >/dev/null 2>&1 &" """,
}
SLURM_JOB = """
job=$(sbatch --parsable --output={out}.log --ntasks-per-node=1 --gpus-per-node=1 --cpus-per-task=1 \
    {recipe} reward_models.train {out} --config {config})
(until compgen -G {out}/checkpoints/'step-*'/state.json; do sleep 0.1; done; scancel --signal=TERM "$job") &
until [ -e {out}/manifest.json ] || [ "$(squeue --noheader)" = "" ]; do sleep 1; done
scontrol show job "$job"; cat {out}.log
"""


class Letters:
    """A reward in which even an untrained policy's responses differ: the share of letters from a to m."""

    name = "letters"

    def applies(self, sample: Any) -> bool:
        return True

    def score(self, samples: Sequence[Any]) -> list[float | None]:
        return [sum("a" <= c <= "m" for c in s.response) / max(1, len(s.response)) for s in samples]


class Ended(NamedTuple):
    """``at`` is the time of the end in seconds since 1970, ``seconds`` those that the run took."""

    status: int
    seconds: float
    at: float
    output: str

    def said(self, words: str) -> list[str]:
        """What the ranks said from these words on, each message once."""
        lines = [line[line.index(words) :].strip() for line in self.output.splitlines() if words in line]
        return list(dict.fromkeys(lines))


# --- runs -------------------------------------------------------------------------------------------------------------


def launch(where: Path, name: str, program: str, settings: dict[str, Any], nodes: int, before: str = "") -> Ended:
    """One run, into the folder ``name`` of ``where``; ``before`` is shell that runs on the first node ahead of it."""
    config, hosts = where / f"{name}.yaml", where / "hosts"
    config.write_text(json.dumps(settings | COMMON | {"output_dir": str(where / name)}), encoding="utf-8")
    hosts.write_text(HOSTFILE, encoding="utf-8")
    one = [str(BIN / "deepspeed"), "--num_gpus", "2", "--module", program]
    two = [str(RECIPES / "hostfile" / "train.sh"), str(hosts), program]
    words = [*(two if nodes == 2 else one), "--config", str(config)]
    return on_nodes("bash", "-c", f"{before}\nexec {shlex.join(words)}")


def on_nodes(*command: str) -> Ended:
    """Run a command on the first of two nodes; its output has that of all ranks."""
    variables = {
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
        "PYTHONWARNINGS": "ignore",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    began = time.monotonic()
    done = subprocess.run(
        [str(NODES), *command],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Ended(done.returncode, time.monotonic() - began, time.time(), done.stdout)


def finished(ended: Ended) -> Ended:
    if ended.status:
        raise RuntimeError(f"the run ended with status {ended.status}:\n{ended.output[-4000:]}")
    return ended


def after_checkpoint(out: Path, happens: str) -> str:
    """Shell: in the background, wait for the first checkpoint, note the time, and let it happen."""
    wait = f"until compgen -G {out}/checkpoints/'step-*'/state.json >/dev/null; do sleep 0.05; done"
    return f"({wait}; date +%s.%N > {out}.event; {happens}) &"


# --- comparisons ------------------------------------------------------------------------------------------------------


def measured(out: Path) -> list[dict[str, Any]]:
    """The log without times."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [{k: v for k, v in x.items() if not k.startswith(("tokens_per_second", "seconds/"))} for x in lines]


def same(out: Path, other: Path) -> dict[str, Any]:
    """Whether two runs logged the same numbers and saved the same weights, to the bit."""
    ours, theirs = load_file(out / "model.safetensors"), load_file(other / "model.safetensors")
    return {
        "steps": measured(out)[-1]["step"],
        "same_metrics": measured(out) == measured(other),
        "same_weights": ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours),
    }


def compared(where: Path, name: str, program: str, settings: dict[str, Any]) -> dict[str, Any]:
    one = finished(launch(where, f"{name}_one", program, settings, 1))
    two = finished(launch(where, f"{name}_two", program, settings, 2))
    seconds = {"seconds_one_node": round(one.seconds, 1), "seconds_two_nodes": round(two.seconds, 1)}
    return same(where / f"{name}_two", where / f"{name}_one") | seconds


def interrupted(where: Path, name: str) -> dict[str, Any]:
    """A run that something happens to after a checkpoint: how it ends, and whether it resumes to the same result."""
    program, out = "reward_models.train", where / name
    ended = launch(where, name, program, REWARD_MODEL, 2, after_checkpoint(out, EVENTS[name]))
    at = float(Path(f"{out}.event").read_text(encoding="utf-8"))
    resumed = finished(launch(where, name, program, REWARD_MODEL, 2))
    return {
        "status": ended.status,
        "said": [*ended.said("error: "), *ended.said("stopped by a signal")],
        "seconds_until_the_end": round(ended.at - at, 1),
        "resumed": resumed.said("resuming from"),
        **same(out, where / "reward_model_one"),
    }


def slurm(where: Path) -> dict[str, Any]:
    """The sbatch script on a local SLURM: a signal stops the run, the job is queued again, and the run resumes."""
    out, config = where / "slurm", where / "slurm.yaml"
    config.write_text(json.dumps(REWARD_MODEL | COMMON), encoding="utf-8")
    job = SLURM_JOB.format(out=out, config=config, recipe=RECIPES / "slurm" / "train.sbatch")
    ended = finished(on_nodes("env", f"KEEL_ENVIRONMENT={BIN.parent}", str(SLURM), "bash", "-c", job))
    said = [*ended.said("stopped by a signal"), *ended.said("resuming from"), *ended.said("Restarts=")]
    return {"said": said, "seconds": round(ended.seconds, 1), **same(out, where / "reward_model_one")}


def own_folders(where: Path) -> dict[str, Any]:
    """The second node has an output folder of its own: the run must refuse that."""
    out = where / "own_folders"
    before = f"ssh node2 'mkdir -p {out} && mount -t tmpfs tmpfs {out}'"
    ended = launch(where, out.name, "reward_models.train", REWARD_MODEL, 2, before)
    return {"status": ended.status, "said": ended.said("error: "), "seconds": round(ended.seconds, 1)}


# --- main -------------------------------------------------------------------------------------------------------------


def tiny_policy(path: Path) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from reward_models.data.chat import train_tokenizer
    from reward_models.data.sources import load

    prompts = load(["synthetic:reasoning:train"], "prompt", limit=100).records
    tokenizer = train_tokenizer([p.prompt[0].content for p in prompts], 380)
    torch.manual_seed(0)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    shape = {k: v for k, v in SHAPE.items() if k != "model_type"}
    model = Qwen3ForCausalLM(Qwen3Config(**shape, **ids, vocab_size=len(tokenizer), initializer_range=0.1))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def ways(where: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    policy = POLICY | {"model": {"path": str(where / "policy_model")}}
    return {
        "reward_model": lambda: compared(where, "reward_model", "reward_models.train", REWARD_MODEL),
        **{name: partial(interrupted, where, name) for name in EVENTS},
        "policy": lambda: compared(where, "policy", "align.train", policy),
        "own_folders": lambda: own_folders(where),
        "slurm": lambda: slurm(where),
    }


def main() -> None:
    arguments = parsed()
    found: dict[str, Any] = {"ratio": None, "environment": environment(threads=1)}
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        tiny_policy(where / "policy_model")
        for name, way in ways(where).items():
            if arguments.only and name not in arguments.only:
                continue
            found[name] = way()
            if name == "reward_model":
                found["ratio"] = round(found[name]["seconds_one_node"] / found[name]["seconds_two_nodes"], 3)
            write(arguments.out, found, [name])  # each takes a minute or more


def parsed() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument(
        "--only", nargs="*", default=[], metavar="NAME", help="beside reward_model, which the others need"
    )
    return made.parse_args()


if __name__ == "__main__":
    main()
