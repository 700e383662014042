"""Evaluation on held-out prompts, by greedy decoding and by sampling."""

from __future__ import annotations

import numpy as np
import torch

from align.phases import phase_at
from align.rewards.mixer import Rewards
from align.rewards.terms import Sample
from align.rollouts.base import Sampling
from align.rollouts.prompts import PromptSet
from align.run import PolicyRun
from align.state import RunState
from align.training.collect import score

# Evaluations of a run draw from the same seeds, so that they differ by the policy alone.
EVALUATION = 2**31


def evaluate_if_due(run: PolicyRun, state: RunState) -> dict[str, float]:
    """Held-out figures where they are due: before the first step, after the last, and as the configuration says."""
    config, step = run.config, state.step
    every = config.evaluation.every
    due = step in (0, config.steps) or (every and step % every == 0)
    if run.held_out is None or not due:
        return {}
    run.sampler.engine.sync_weights(step)
    longest = phase_at(run.phases, min(step, config.steps - 1)).max_new_tokens
    values, shown = evaluate(run, run.held_out, longest)
    prompt, response = shown.prompt[-1].content[:200], shown.response[:400]
    run.reporter.say(f"after {step} steps, to {prompt!r}: {response!r}")
    return values


def evaluate(run: PolicyRun, prompts: PromptSet, max_new_tokens: int) -> tuple[dict[str, float], Sample]:
    """Metrics named ``eval/…``, their standard errors ``eval_se/…``, and the first greedy sample.

    Accuracy is over the prompts that a verifier could judge; every other figure over the responses it applies to.
    """
    settings, seed = run.config.evaluation, run.config.seed
    items = np.arange(len(prompts))
    metrics: dict[str, float] = {}
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
        right_PG = torch.from_numpy(accuracy_of(rewards)).view(-1, count)
        shown = shown or run.sampler.samples(prompts, rollout, [0])
        figures = {
            "accuracy": right_PG,
            "length": rollout.length_N.double().view(-1, count),
            "finished": rollout.finished_N.double().view(-1, count),
            **{
                term: torch.from_numpy(values).view(-1, count)
                for term, values in rewards.raw.items()
                if not term.startswith("accuracy")
            },
        }
        for figure, values_PG in figures.items():
            metrics[f"eval/{figure}_{name}"] = float(values_PG.nanmean())
            metrics[f"eval_se/{figure}_{name}"] = standard_error(values_PG)
        if count > 1:
            metrics |= {f"eval/pass@{k}": value for k, value in pass_at(right_PG).items()}
    return {name: value for name, value in metrics.items() if value == value}, shown[0]


def standard_error(values_PG: torch.Tensor) -> float:
    """Standard error of the mean over prompts, for responses to one prompt resemble each other; nan below two."""
    means_P = values_PG.nanmean(1)
    means_P = means_P[~means_P.isnan()]
    return float(means_P.std() / len(means_P) ** 0.5) if len(means_P) > 1 else float("nan")


def accuracy_of(rewards: Rewards) -> np.ndarray:
    """1, 0 or nan for every response: the value of the verifier that applies to it, which is one at most."""
    verdicts = [values for name, values in rewards.raw.items() if name.startswith("accuracy")]
    if not verdicts:
        return np.full_like(rewards.reward_N, np.nan)
    stacked = np.stack(verdicts)
    known = ~np.isnan(stacked)
    return np.where(known.any(0), np.where(known, stacked, 0.0).sum(0), np.nan)


def pass_at(right_PG: torch.Tensor) -> dict[int, float]:
    """pass@k for every power of two up to G: the chance that one of k samples is right, without bias, 1 − C(n−c, k) /
    C(n, k) (Chen et al., arXiv:2107.03374), over the prompts whose n = G samples could all be judged.
    """
    judged_PG = right_PG[~right_PG.isnan().any(1)]
    if not len(judged_PG):
        return {}
    n = right_PG.shape[1]
    wrong_P = (n - judged_PG.sum(1)).long()
    result, k = {}, 1
    while k <= n:
        # C(w, k) / C(n, k) as a product that never overflows
        miss_P = torch.ones(len(judged_PG), dtype=torch.float64)
        for i in range(k):
            miss_P *= (wrong_P - i).clamp(min=0) / (n - i)
        result[k] = float(1 - miss_P.mean())
        k *= 2
    return result
