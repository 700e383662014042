"""Evaluation on held-out prompts, by greedy decoding and by sampling."""

from __future__ import annotations

import numpy as np

from align.phases import phase_at
from align.rewards.mixer import accuracy_of, mean_of_known
from align.rewards.terms import Sample
from align.rollouts.base import Sampling
from align.rollouts.prompts import PromptSet
from align.run import PolicyRun
from align.samples.figures import means_of_prompts, pass_at, standard_error
from align.state import RunState
from align.training.collect import score

# Evaluations of a run draw from the same seeds, so that they differ by the policy alone.
EVALUATION = 2**31


def evaluation_is_due(run: PolicyRun, state: RunState) -> bool:
    """True before the first step, after the last, and as the configuration says, where there are held-out prompts."""
    every, step = run.config.evaluation.every, state.step
    due = step in (0, run.config.steps) or bool(every and step % every == 0)
    return run.held_out is not None and due


def evaluate_if_due(run: PolicyRun, state: RunState) -> dict[str, float]:
    """Held-out figures where they are due."""
    if run.held_out is None or not evaluation_is_due(run, state):
        return {}
    config, step = run.config, state.step
    run.sampler.engine.sync_weights(step)
    longest = phase_at(run.phases, min(step, config.steps - 1)).max_new_tokens
    values, by_prompt, shown = evaluate(run, run.held_out, longest)
    run.by_prompt.write({"step": step, **by_prompt})
    prompt, response = shown.prompt[-1].content[:200], shown.response[:400]
    run.reporter.say(f"after {step} steps, to {prompt!r}: {response!r}")
    return values


def evaluate(
    run: PolicyRun, prompts: PromptSet, max_new_tokens: int
) -> tuple[dict[str, float], dict[str, list[float | None]], Sample]:
    """Metrics ``eval/…`` and their standard errors ``eval_se/…``; the figures of each prompt; the first greedy sample.

    Accuracy is over the prompts that a verifier could judge; every other figure over the responses it applies to.
    """
    settings, seed = run.config.evaluation, run.config.seed
    items = np.arange(len(prompts))
    metrics: dict[str, float] = {}
    by_prompt: dict[str, list[float | None]] = {}
    shown: list[Sample] = []
    for name, temperature, count in (("greedy", 0.0, 1), ("sampled", settings.temperature, settings.samples)):
        sampling = Sampling(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=settings.top_p if temperature else 1.0,
            samples=count,
        )
        rollout = run.sampler(prompts, items, sampling, (seed, EVALUATION, count))
        scores = score(run.evaluator, run.sampler, prompts, rollout, run.world)
        rewards = run.evaluator.mix(scores(), run.evaluator.mixer.weights(0), learn=False)
        right_PG = accuracy_of(rewards).reshape(-1, count)
        shown = shown or run.sampler.samples(prompts, rollout, [0])
        figures = {
            "accuracy": right_PG,
            "length": rollout.length_N.double().view(-1, count).numpy(),
            "finished": rollout.finished_N.double().view(-1, count).numpy(),
            **{
                term: values.reshape(-1, count)
                for term, values in rewards.raw.items()
                if not term.startswith("accuracy")
            },
        }
        for figure, values_PG in figures.items():
            metrics[f"eval/{figure}_{name}"] = mean_of_known(values_PG)
            metrics[f"eval_se/{figure}_{name}"] = standard_error(values_PG)
            by_prompt[f"{figure}_{name}"] = [
                None if value != value else value for value in means_of_prompts(values_PG).tolist()
            ]
        if count > 1:
            metrics |= {f"eval/pass@{k}": value for k, value in pass_at(right_PG).items()}
    return {name: value for name, value in metrics.items() if value == value}, by_prompt, shown[0]
