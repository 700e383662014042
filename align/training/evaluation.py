"""What the policy can do on held-out prompts: greedily, and by sampling."""

from __future__ import annotations

import numpy as np
import torch

from align.config import AlignConfig
from align.rewards.mixer import Mixed
from align.rewards.scoring import Scorer
from align.rewards.terms import Sample
from align.rollouts.base import Sampling
from align.rollouts.prompts import PromptSet
from align.rollouts.sampler import Sampler

# Evaluations of a run draw from the same seeds, so that they differ by the policy alone.
EVALUATION = 2**31


def evaluate(
    config: AlignConfig, prompts: PromptSet, sampler: Sampler, scorer: Scorer, max_new_tokens: int
) -> tuple[dict[str, float], list[Sample]]:
    """Metrics named ``eval/…``, their standard errors ``eval_se/…``, and the greedy samples.

    Accuracy is over the prompts that a verifier could judge; every other figure over the responses it applies to.
    """
    settings = config.evaluation
    items = np.arange(len(prompts))
    metrics: dict[str, float] = {}
    shown: list[Sample] = []
    for name, temperature, count in (("greedy", 0.0, 1), ("sampled", settings.temperature, settings.samples)):
        sampling = Sampling(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=settings.top_p if temperature else 1.0,
            n_samples_per_prompt=count,
        )
        responses = sampler(prompts, items, sampling, (config.seed, EVALUATION, count))
        samples = sampler.as_samples(prompts, responses)
        weights = scorer.mixer.weights(0, {}, {})
        rewards = scorer.finish(scorer.start(samples), len(samples), weights, learn=False)
        right_PG = accuracy_of(rewards).view(-1, count)
        shown = shown or samples
        figures = {
            "accuracy": right_PG,
            "length": responses.length_N.double().view(-1, count),
            "finished": responses.finished_N.double().view(-1, count),
            **{term: values.view(-1, count) for term, values in rewards.raw.items() if not term.startswith("accuracy")},
        }
        for figure, values_PG in figures.items():
            metrics[f"eval/{figure}_{name}"] = float(values_PG.nanmean())
            metrics[f"eval_se/{figure}_{name}"] = standard_error(values_PG)
        if count > 1:
            metrics |= {f"eval/pass@{k}": value for k, value in pass_at(right_PG).items()}
    return {name: value for name, value in metrics.items() if value == value}, shown


def standard_error(values_PG: torch.Tensor) -> float:
    """Of the mean, with the prompts as what was drawn: responses to one prompt resemble each other. nan below two."""
    means_P = values_PG.nanmean(1)
    means_P = means_P[~means_P.isnan()]
    return float(means_P.std() / len(means_P) ** 0.5) if len(means_P) > 1 else float("nan")


def accuracy_of(rewards: Mixed) -> torch.Tensor:
    """1, 0 or nan for every response: what the verifiers say, of which one at most applies to it."""
    verdicts = [values for name, values in rewards.raw.items() if name.startswith("accuracy")]
    if not verdicts:
        return torch.full_like(rewards.total_N, torch.nan)
    stacked = torch.stack(verdicts)
    known = ~stacked.isnan()
    return torch.where(known.any(0), torch.where(known, stacked, 0.0).sum(0), torch.nan)


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
