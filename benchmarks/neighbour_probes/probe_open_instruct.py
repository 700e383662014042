"""open-instruct, from its source: its verifiers, built as it builds them, and its reward function over a batch."""

from __future__ import annotations

import asyncio
import importlib
import json
from types import SimpleNamespace
from typing import Any

from probe import LANGUAGE, SAMPLES, Report, arguments, expected, raises, same

from reward_models.runtime.config import ConfigError

FACTOR = 10.0
ARGUMENTS = SimpleNamespace(
    llm_judge_model="none",
    llm_judge_max_tokens=1,
    llm_judge_max_context_length=1,
    llm_judge_temperature=0.0,
    llm_judge_timeout=1,
    seed=0,
    code_api_url="http://127.0.0.1:1/test_program",
    code_max_execution_time=1.0,
    code_pass_rate_reward_threshold=0.0,
    code_apply_perf_penalty=False,
    max_length_verifier_max_length=1,
)


def scored(utilities: Any, dataset: str) -> list[float]:
    """open-instruct's own reward function, as its data loader builds and calls it."""
    n = len(SAMPLES)
    verifiers = utilities.build_all_verifiers(ARGUMENTS)
    config = utilities.RewardConfig(verifier_functions=verifiers, verification_reward=FACTOR)
    nothing = SimpleNamespace(
        timeouts=[False] * n, tool_errors=[""] * n, tool_outputs=[""] * n, tool_calleds=[False] * n, rollout_states=None
    )
    labels = [json.dumps({"answer": answer, "language": LANGUAGE}) for _, answer, _ in SAMPLES]
    responses = [response for _, _, response in SAMPLES]
    ids = [list(response.encode()) for response in responses]
    found = config.build()(ids, responses, labels, [dataset] * n, ["stop"] * n, nothing, [q for q, _, _ in SAMPLES])
    scores, _ = asyncio.run(found)
    return [score / FACTOR for score in scores]


def main() -> None:
    given, report = arguments(), Report()
    with report.cell("imports"):
        utilities = importlib.import_module("open_instruct.ground_truth_utils")
        bridge = importlib.import_module("align.bridges.open_instruct")
        bridge.register()
    with report.cell("scores_equal"):
        same(scored(utilities, "keel"), expected())
    with report.cell("steps", "a batch through its reward function; its rollout and trainer need a GPU", steps=1):
        same(scored(utilities, "keel"), expected())
    note = "by the launcher; open-instruct alone trains on a reward of 0 with a warning"
    with report.cell("loud", note):
        assert set(scored(utilities, "gone")) == {0.0}
        (given.work / "keel_probe_grpo.py").write_text("")
        importlib.sys.path.insert(0, str(given.work))  # type: ignore[attr-defined]
        bridge.main([], "keel_probe_grpo")
        with raises(ConfigError, "no verifier for the data set 'gone'"):
            scored(utilities, "gone")
    report.write(given.out)


if __name__ == "__main__":
    main()
