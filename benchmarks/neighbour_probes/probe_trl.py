"""TRL: two steps of its ``GRPOTrainer`` on a policy of random weights, with the mixture as its reward function."""

from __future__ import annotations

import tiny_policy
from probe import LANGUAGE, SAMPLES, Report, arguments, expected, same

STEPS = 2


def main() -> None:
    given, report = arguments(), Report()
    with report.cell("imports"):
        from datasets import Dataset
        from transformers import AutoTokenizer
        from trl import GRPOConfig, GRPOTrainer

        from align.bridges.trl import MixedReward
    rewards = str(given.work / "rewards.yaml")
    questions = [[{"role": "user", "content": question}] for question, _, _ in SAMPLES]
    answers = [answer for _, answer, _ in SAMPLES]
    with report.cell("scores_equal"):
        completions = [[{"role": "assistant", "content": response}] for _, _, response in SAMPLES]
        columns = {"answer": answers, "language": [LANGUAGE] * len(SAMPLES)}
        same(MixedReward(rewards)(prompts=questions, completions=completions, **columns), expected())
    with report.cell("steps", steps=STEPS):
        policy = tiny_policy.save(given.work / "policy")
        rows = Dataset.from_dict({"prompt": questions, "answer": answers, "language": [LANGUAGE] * len(SAMPLES)})
        trainer = GRPOTrainer(
            model=str(policy),
            reward_funcs=MixedReward(rewards),
            args=GRPOConfig(
                output_dir=str(given.work / "run"),
                max_steps=STEPS,
                per_device_train_batch_size=4,
                num_generations=4,
                max_completion_length=16,
                logging_steps=1,
                report_to=[],
                use_cpu=True,
                save_strategy="no",
            ),
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(policy),
        )
        trainer.train()
        logged = [row for row in trainer.state.log_history if "rewards/mixed_reward/mean" in row]
        assert trainer.state.global_step == STEPS, trainer.state.global_step
        assert len(logged) == STEPS, trainer.state.log_history
        assert all("term/accuracy_math" in row for row in logged), logged
    with report.cell("loud", "the functions are arguments of the trainer: there is no setting that it could ignore"):
        assert [function.__name__ for function in trainer.reward_funcs] == ["mixed_reward"]
    report.write(given.out)


if __name__ == "__main__":
    main()
