"""verl: its configuration composed by its hydra, its loader, its reward loop in its Ray workers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import tiny_policy
from probe import LANGUAGE, SAMPLES, Report, arguments, expected, raises, same

from reward_models.runtime.config import ConfigError

LENGTH = 96
OLD_MANAGER = (
    "reward_model.reward_loop_source=importlib",
    "reward_model.reward_loop_module_path=pkg://align.bridges.verl",
    "reward_model.reward_loop_class_name=RewardManager",
)


def composed(model: Path, *options: str) -> Any:
    """verl's configuration with these options, as ``verl.trainer.main_ppo`` composes it."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        own = (f"actor_rollout_ref.model.path={model}", "reward.num_workers=1")
        return compose("ppo_trainer", overrides=[*own, *options])


def batch(tokenizer: Any) -> Any:
    """The samples as verl's agent loop hands them over: padded responses, columns of the data set."""
    import torch
    from tensordict import TensorDict
    from verl import DataProto

    n = len(SAMPLES)
    tensors = {
        "prompts": torch.full((n, 4), tokenizer.pad_token_id),
        "responses": torch.full((n, LENGTH), tokenizer.pad_token_id),
        "attention_mask": torch.zeros((n, 4 + LENGTH), dtype=torch.long),
    }
    tensors["attention_mask"][:, :4] = 1
    for place, (_, _, response) in enumerate(SAMPLES):
        ids = [*tokenizer.encode(response, add_special_tokens=False), tokenizer.eos_token_id][:LENGTH]
        tensors["responses"][place, : len(ids)] = torch.tensor(ids)
        tensors["attention_mask"][place, 4 : 4 + len(ids)] = 1
    columns = {
        "raw_prompt": [[{"role": "user", "content": question}] for question, _, _ in SAMPLES],
        "reward_model": [{"ground_truth": answer} for _, answer, _ in SAMPLES],
        "extra_info": [{"language": LANGUAGE} for _ in SAMPLES],
        "data_source": ["keel"] * n,
    }
    arrays = {}
    for name, values in columns.items():
        arrays[name] = np.empty(n, dtype=object)
        arrays[name][:] = values
    return DataProto(batch=TensorDict(tensors, batch_size=n), non_tensor_batch=arrays)


def scored(config: Any, tokenizer: Any) -> list[float]:
    """By the manager that verl loads, one ``DataProto`` of one item at a time, as its reward worker does it."""
    from verl.trainer.ppo.reward import load_reward_manager

    data = batch(tokenizer)

    async def score_all() -> list[Any]:
        manager = load_reward_manager(config, tokenizer)
        return await asyncio.gather(*(manager.run_single(data[i : i + 1]) for i in range(len(data))))

    return [result["reward_score"] for result in asyncio.run(score_all())]


def looped(config: Any, tokenizer: Any, batches: int) -> list[list[float]]:
    """By verl's ``RewardLoopManager`` and its Ray workers; the tensor it returns, summed over the tokens."""
    import ray
    from verl.experimental.reward_loop import RewardLoopManager

    for left in reversed(range(5)):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            break
        except Exception:  # its node must start within 30 s, which it does not always do on a busy machine
            ray.shutdown()
            if not left:
                raise
    try:
        manager = RewardLoopManager(config)
        results = [manager.compute_rm_score(batch(tokenizer)) for _ in range(batches)]
        return [result.batch["rm_scores"].sum(1).tolist() for result in results]
    finally:
        ray.shutdown()


def main() -> None:
    given, report = arguments(), Report()
    with report.cell("imports"):
        import verl.trainer.main_ppo  # noqa: F401
        from verl.utils import hf_tokenizer

        from align.bridges import verl as bridge
    wanted = expected()
    model = tiny_policy.save(given.work / "policy")
    tokenizer = hf_tokenizer(str(model))
    ours = tuple(f"{name}={value}" for name, value in bridge.OPTIONS.items())
    function = "reward.custom_reward_function.path=pkg://align.bridges.verl"
    with report.cell("scores_equal"):
        manager, by_function = composed(model, *ours), composed(model, function)
        bridge.check(manager)
        bridge.check(by_function)
        same(scored(manager, tokenizer), wanted)
        same(scored(by_function, tokenizer), wanted)
    note = "batches through RewardLoopManager and its Ray worker; verl's rollout and trainer need a GPU"
    with report.cell("steps", note, steps=2):
        for values in looped(manager, tokenizer, 2):
            same(values, wanted)
    with report.cell("loud"):
        for wrong, text in (
            ((), "come from verl's"),
            (("custom_reward_function.path=pkg://align.bridges.verl",), "custom_reward_function.path any more"),
            (OLD_MANAGER, "reward_model.reward_loop_source"),
        ):
            with raises(ConfigError, text):
                bridge.check(composed(model, *wrong))
        # Without our launcher: a data source of this name makes verl's own scoring an error.
        with raises(NotImplementedError, "data_source='keel'"):
            scored(composed(model, *OLD_MANAGER), tokenizer)
    report.write(given.out)


if __name__ == "__main__":
    main()
