"""A policy by its samples, as DeepSeek-R1 reports it: pass@1, pass@k and consensus@k, with intervals by prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from align.samples.consensus import VOTING, consensus_at, verifier_of, votes
from align.samples.figures import interval, pass_at_k, powers_of_two
from align.samples.rows import SampleRow
from reward_models.data.splits import prompt_key

Group = Sequence[SampleRow]


def evaluate_samples(groups: Sequence[Group], against: Sequence[Group] = ()) -> dict[str, Any]:
    """The figures of all samples, of every domain and of every source.

    ``pass@1`` is the mean over a prompt's responses of being right, averaged over prompts; ``pass@k`` the chance that
    one of k is (Chen et al., arXiv:2107.03374); ``consensus@k`` the chance that their majority is. Each has an interval
    ``…_ci95``. They are over prompts all of whose responses a verifier could judge; ``unjudged`` counts others that
    have some verdicts.

    Args:
        groups: the samples of each prompt. ``against``: those of another policy, to compare with on the same prompts.

    Raises:
        ValueError: prompts have different numbers of responses; or no prompt is in both.
    """
    sizes = {len(group) for group in groups}
    if len(sizes) != 1:
        raise ValueError(
            f"prompts have between {min(sizes)} and {max(sizes)} responses: give files of equally many per prompt"
        )
    numbers = _votes(groups)
    found = _figures(groups, numbers)
    places: dict[str, dict[str, list[int]]] = {"by_domain": {}, "by_source": {}}
    for place, group in enumerate(groups):
        places["by_domain"].setdefault(group[0].record.domain, []).append(place)
        places["by_source"].setdefault(group[0].record.source, []).append(place)
    for axis, parts in places.items():
        found[axis] = {
            name: _figures([groups[p] for p in members], [numbers[p] for p in members])
            for name, members in sorted(parts.items())
        }
    if against:
        found["difference"] = _difference(groups, against)
    return found


def _votes(groups: Sequence[Group]) -> list[np.ndarray | None]:
    """The votes of every prompt that was judged and whose answers can be compared, else ``None``."""
    voting = [judged(group) and verifier_of(group[0]) in VOTING for group in groups]
    found = iter(votes([group for group, does in zip(groups, voting, strict=True) if does]))
    return [next(found) if does else None for does in voting]


def judged(group: Group) -> bool:
    """True if a verifier judged all responses to a prompt."""
    return all(row.correct is not None for row in group)


def _figures(groups: Sequence[Group], numbers: Sequence[np.ndarray | None]) -> dict[str, Any]:
    n = len(groups[0])
    counted = [group for group in groups if judged(group)]
    found: dict[str, Any] = {
        "prompts": len(groups),
        "samples": n,
        "judged": len(counted),
        "unjudged": sum(not judged(g) and any(row.correct is not None for row in g) for g in groups),
        "tokens_mean": float(np.mean([row.tokens for group in groups for row in group])),
        "truncated": float(np.mean([not row.finished for group in groups for row in group])),
    }
    correct_P = np.array([sum(row.correct == 1 for row in group) for group in counted], np.float64)
    sizes = sorted({*powers_of_two(n), n})
    for k in sizes if counted else ():
        _add(found, f"pass@{k}", pass_at_k(n, correct_P, k))
    cast = [each for each in numbers if each is not None]
    for k in sizes[1:] if cast else ():
        _add(found, f"consensus@{k}", np.array([consensus_at(each, k, place) for place, each in enumerate(cast)]))
    found["voting"] = len(cast)
    for name in sorted({name for group in groups for row in group for name in row.scores}):
        _add(found, f"score/{name}", np.array([_mean_score(group, name) for group in groups]))
    return found


def _add(found: dict[str, Any], name: str, values_P: np.ndarray) -> None:
    known = values_P[~np.isnan(values_P)]
    found[name] = float(known.mean()) if len(known) else None
    found[f"{name}_ci95"] = interval(values_P)


def _mean_score(group: Group, name: str) -> float:
    values = [value for row in group if (value := row.scores.get(name)) is not None]
    return float(np.mean(values)) if values else float("nan")


def _difference(groups: Sequence[Group], against: Sequence[Group]) -> dict[str, Any]:
    """The difference between this policy and the other, on the prompts that both have answered."""

    def key(group: Group) -> tuple[str, str]:  # a prompt may be there once in each domain
        return group[0].record.domain, prompt_key(group[0].record.prompt)

    other = {key(group): group for group in against}
    pairs = [(group, other[key(group)]) for group in groups if key(group) in other]
    if not pairs:
        raise ValueError("the samples to compare with answer none of the same prompts")
    found: dict[str, Any] = {"prompts": len(pairs)}

    def add(name: str, value: Callable[[Group], float]) -> None:
        gaps = np.array([value(ours) - value(theirs) for ours, theirs in pairs])
        if not np.isnan(gaps).all():
            _add(found, name, gaps)

    add("pass@1", lambda group: float(np.mean([row.correct for row in group])) if judged(group) else float("nan"))
    add("tokens_mean", lambda group: float(np.mean([row.tokens for row in group])))
    add("truncated", lambda group: float(np.mean([not row.finished for row in group])))
    for name in sorted({name for pair in pairs for group in pair for row in group for name in row.scores}):
        add(f"score/{name}", lambda group, name=name: _mean_score(group, name))  # type: ignore[misc]
    return found
