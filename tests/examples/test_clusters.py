"""The recipes of examples/clusters: well formed, with commands that are real; two nodes equal one process."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_runs import ENVIRONMENT, SETTINGS, assert_close_run, train

from align.config import AlignConfig
from align.sft.trainer import SftConfig
from reward_models.config import RewardModelConfig
from reward_models.runtime.config import load_config, presets
from reward_models.runtime.program import training_parser

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "clusters"
SCRIPTS = sorted(file for file in RECIPES.rglob("*") if file.suffix in (".sh", ".sbatch"))
SCHEMAS: dict[str, type] = {
    "reward_models.train": RewardModelConfig,
    "align.train": AlignConfig,
    "align.train_sft": SftConfig,
}


def usages(script: Path) -> list[list[str]]:
    """The commands in a script's first comment, as words."""
    lines = script.read_text(encoding="utf-8").splitlines()
    found = [shlex.split(line[1:]) for line in lines if line.startswith("#   ")]
    return [words for words in found if any(word in SCHEMAS or word.endswith(".sbatch") for word in words)]


def check(program: str, words: list[str]) -> None:
    """The program's command line takes the words, and its configuration the settings."""
    parsed = training_parser(program, None, "", "").parse_intermixed_args(words)
    schema = SCHEMAS[program]
    assert parsed.config in presets(schema) or parsed.config.startswith("/shared/"), parsed.config
    load_config(schema, parsed.config if parsed.config in presets(schema) else None, parsed.overrides)


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((RECIPES / name).read_text(encoding="utf-8")))


def one(name: str, kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents(name) if document["kind"] == kind)
    return found


# --- shell ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.relative_to(RECIPES).as_posix())
def test_a_script_is_well_formed(script: Path) -> None:
    shell = "sh" if script.read_text(encoding="utf-8").startswith("#!/bin/sh") else "bash"
    assert subprocess.run([shell, "-n", script], check=False).returncode == 0
    if script.suffix == ".sh":
        assert os.access(script, os.X_OK)
    linter = shutil.which("shellcheck")
    if linter is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([linter, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def training_usages() -> Iterator[tuple[str, list[str]]]:
    for words in usages(RECIPES / "hostfile" / "train.sh"):
        yield words[2], words[3:]
    for words in usages(RECIPES / "slurm" / "train.sbatch"):
        start = words.index("train.sbatch")
        yield words[start + 1], [f"output_dir={words[start + 2]}", *words[start + 3 :]]
    for words in usages(RECIPES / "slurm" / "align_vllm.sbatch"):
        start = words.index("align_vllm.sbatch")
        text = (RECIPES / "slurm" / "align_vllm.sbatch").read_text(encoding="utf-8")
        fixed = re.findall(r"(rollout\.\w+=[^\s\"]+)", text)
        assert len(fixed) == 2
        yield "align.train", [f"output_dir={words[start + 2]}", *fixed, *words[start + 3 :]]


@pytest.mark.parametrize(("program", "words"), list(training_usages()), ids=str)
def test_the_commands_in_the_scripts_are_accepted(program: str, words: list[str]) -> None:
    check(program, words)


# --- Kubernetes and SkyPilot ------------------------------------------------------------------------------------------


def test_the_job_of_kubernetes_meets_under_its_own_name_and_starts_a_real_program() -> None:
    job, service = one("kubernetes/train.yaml", "Job"), one("kubernetes/train.yaml", "Service")
    name, spec = job["metadata"]["name"], job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    (container,) = pod["containers"]
    words = container["command"]
    assert f"--nnodes={spec['parallelism']}" in words
    assert f"--nproc-per-node={container['resources']['limits']['nvidia.com/gpu']}" in words
    assert f"--master-addr={name}-0.{pod['subdomain']}" in words
    start = words.index("--module")
    check(words[start + 1], words[start + 2 :])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_server_of_kubernetes_is_for_the_jobs_pods_alone() -> None:
    policy, server = one("kubernetes/vllm.yaml", "NetworkPolicy"), one("kubernetes/vllm.yaml", "Deployment")
    labels = server["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"] == labels == server["spec"]["selector"]["matchLabels"]
    assert one("kubernetes/vllm.yaml", "Service")["spec"]["selector"] == labels
    ((source,),) = ([each["podSelector"]["matchLabels"] for each in rule["from"]] for rule in policy["spec"]["ingress"])
    assert source == {"job-name": one("kubernetes/train.yaml", "Job")["metadata"]["name"]}


def test_the_task_of_skypilot_starts_a_real_program() -> None:
    (task,) = documents("skypilot/train.yaml")
    assert f'--module "$PROGRAM" --config "$CONFIG" "output_dir={next(iter(task["volumes"]))}/' in task["run"]
    check(task["envs"]["PROGRAM"], ["--config", task["envs"]["CONFIG"]])
    done = subprocess.run(["bash", "-n"], input=task["setup"] + task["run"], text=True, check=False)
    assert done.returncode == 0


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Dockerfile", "annotate.Dockerfile"])
def test_an_image_is_made_of_files_and_extras_that_are_there(name: str) -> None:
    text = (RECIPES / "docker" / name).read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", text, re.M)
    assert set(extras.split(",")) <= project["project"]["optional-dependencies"].keys()
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?:--chmod=\d+ )?(?!--from)(\S+) /", text, re.M)
    packages = [each.rstrip("*") for each in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    for path in (*copied, *packages, "README.md", "LICENSE", "pyproject.toml"):
        assert (ROOT / path).exists()
        assert any(path.startswith(line[1:]) for line in sent.splitlines() if line.startswith("!")), path


# --- two nodes --------------------------------------------------------------------------------------------------------


def test_two_nodes_of_a_hostfile_equal_one_process(tmp_path: Path) -> None:
    if shutil.which("pdsh") is None:
        pytest.skip("pdsh is not installed")
    settings = (*SETTINGS, "max_steps=3", "engine.zero_stage=2")
    hosts, out = tmp_path / "hosts", tmp_path / "two"
    hosts.write_text("node1 slots=1\nnode2 slots=1\n")
    command = [RECIPES / "local" / "nodes.sh", RECIPES / "hostfile" / "train.sh", hosts, "reward_models.train"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [*command, f"output_dir={out}", *settings],
        env=os.environ | ENVIRONMENT | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode == 3:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    train(tmp_path / "one", *settings)
    assert_close_run(out, tmp_path / "one")
