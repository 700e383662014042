"""OpenRLHF: its single-turn executor with our file and with our server, and the experience it makes of the rewards."""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import tiny_policy
from probe import LANGUAGE, SAMPLES, Report, arguments, expected, keel_server, raises, same

# Packages of CUDA that OpenRLHF's modules import; each of their modules is an empty one here.
ABSENT = """
import importlib.abc, importlib.machinery, sys
from unittest.mock import MagicMock

class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("vllm", "flash_attn", "ring_flash_attn"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = MagicMock()
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module):
        pass

sys.meta_path.append(Absent())
"""


class Engine:
    """In the place of vLLM's engine, which OpenRLHF runs on a GPU: it answers with the sample's response."""

    def __init__(self, tokenizer: Any, response: str) -> None:
        self.ids = [*tokenizer.encode(response, add_special_tokens=False), tokenizer.eos_token_id]
        self.text = response

    async def generate(self, *_: Any, **__: Any) -> Any:
        output = SimpleNamespace(token_ids=self.ids, text=self.text, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


class Sampling:
    """``SamplingParams``, as far as the executor reads it."""

    max_tokens, logprobs = 256, None


def executed(executor: Any, tokenizer: Any) -> list[dict[str, Any]]:
    """One execution for each sample, all at once, as OpenRLHF runs them; the label is a JSON object."""

    async def run_all() -> list[dict[str, Any]]:
        calls = []
        for question, answer, response in SAMPLES:
            turns = [{"role": "user", "content": question}]
            prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            label = json.dumps({"answer": answer, "language": LANGUAGE, "prompt": turns})
            engine = Engine(tokenizer, response)
            calls.append(executor.execute(prompt, label, copy.copy(Sampling()), 1024, tokenizer, engine))
        return await asyncio.gather(*calls)

    return asyncio.run(run_all())


def experiences(outputs: list[dict[str, Any]]) -> list[Any]:
    """OpenRLHF's ``Experience`` of each output; packages of CUDA are empty ones."""
    exec(ABSENT, {})
    module: Any = importlib.import_module("openrlhf.trainer.ppo_utils.samples_generator")
    make = module.SamplesGenerator._process_response_into_experience
    return [make(None, output, max_len=1024) for output in outputs]


def main() -> None:
    given, report = arguments(), Report()
    with report.cell("imports"):
        from openrlhf.utils.agent import SingleTurnAgentExecutor
        from transformers import AutoTokenizer

        import align.bridges.openrlhf as bridge
    tokenizer = AutoTokenizer.from_pretrained(tiny_policy.save(given.work / "policy"))
    file, wanted = str(find_spec(bridge.__name__).origin), expected()  # type: ignore[union-attr]
    with report.cell("scores_equal"):
        outputs = executed(SingleTurnAgentExecutor([file]), tokenizer)
        same([output["reward"] for output in outputs], wanted)
        assert all("raw/accuracy_math" in output["extra_logs"] for output in outputs)
        with keel_server(given) as (url, scores):  # the reward model itself, by OpenRLHF's request
            remote = executed(SingleTurnAgentExecutor([f"{url}/get_reward"]), tokenizer)
            assert all(output["reward"] is not None for output in remote), remote
            assert len({round(output["reward"][0], 4) for output in remote}) == len(set(scores)), remote
            os.environ["KEEL_REWARD"] = url
            same([output["reward"] for output in executed(SingleTurnAgentExecutor([file]), tokenizer)], scores, 1e-4)
            os.environ["KEEL_REWARD"] = str(given.work / "rewards.yaml")
    note = "executions, each made an Experience; a stand-in engine answers: OpenRLHF's vLLM and trainers need a GPU"
    with report.cell("steps", note, steps=len(SAMPLES)):
        same([each.rewards.item() for each in experiences(outputs)], wanted)
    note = "an unknown option ends train_ppo_ray; without rewards its experience maker raises, after our logged error"
    with report.cell("loud", note):
        line = [sys.executable, "-c", CLI, "--remote_rm_url", file]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr[-1000:]
        assert "unrecognized arguments" in done.stderr, done.stderr[-1000:]
        os.environ["KEEL_REWARD"] = str(given.work / "gone.yaml")
        missing = experiences(executed(SingleTurnAgentExecutor([file]), tokenizer))
        assert [each.rewards for each in missing] == [None] * len(missing)
        maker: Any = importlib.import_module("openrlhf.trainer.ppo_utils.experience_maker").RemoteExperienceMaker
        with raises(ValueError, "reward_model_group is required"):
            maker.make_experience(SimpleNamespace(**MAKER), missing)
    report.write(given.out)


CLI = (
    ABSENT
    + """
import runpy
runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")
"""
)
ONE = SimpleNamespace(ring_attn_size=1, tensor_parallel_size=1)
MAKER = {"strategy": SimpleNamespace(args=SimpleNamespace(ds=ONE)), "reward_model_group": None}

if __name__ == "__main__":
    main()
