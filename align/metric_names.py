"""The names of the metrics that a run may log, as docs/metrics.md lists them; a guard must watch one of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from align.best import measured_names
from align.rewards.build import JUDGE_TERMS, TERMS, verifier_of
from reward_models.data.records import DOMAINS

# Names of terms: that of a verifier begins with accuracy_, also where its entry is `instructions`.
OF_TERMS = [name for name in TERMS if name.startswith("accuracy_") or not verifier_of(name)]
NAMES = frozenset(
    {
        *("reward", "unscorable", "groups_without_signal", "resampled_rounds", "prompts_drawn"),
        *("response_length", "response_length_max", "finished", "loss", "entropy", "ratio", "ratio_max"),
        *("clipped_low", "clipped_high", "limited", "kl", "kl_teacher", "kl_first", "mismatch", "mismatch_max"),
        *("correction_weight", "effective_share", "correction_limited", "correction_masked", "off_policy_masked"),
        *("overlong", "advantage_size", "grad_norm", "lr", "staleness"),
        *(f"{figure}/{domain}" for figure in ("reward", "length") for domain in DOMAINS),
        *(f"curriculum/{pool}" for pool in ("new", "never", "hard", "medium", "easy", "always", "resting", "closed")),
        *("curriculum/skipped", "curriculum/readmitted", "curriculum/pass_rate"),
        *("engine/servers", "engine/prompts_moved"),
        *(f"seconds/{part}" for part in ("rollout", "rewards", "logprobs", "update", "step")),
        *(f"{family}/{term}" for family in ("term", "weighted", "unscorable", "failures") for term in OF_TERMS),
        *(f"disagreement/{model}" for model in ("helpful", "safety")),
        "followed/accuracy_instructions",
        *(
            f"judge_{count}/{judge}"
            for count in ("calls", "cached", "tokens_in", "tokens_out", "cost", "unread", "failed")
            for judge in JUDGE_TERMS
        ),
    }
)
LEVEL = re.compile("curriculum/level/.+")


def is_foreign(entry: str) -> bool:
    """True if an entry of the rewards is an import path: its figures have names that a configuration does not tell."""
    return ":" in entry


def metric_problem(name: str, entries: Collection[str], samples: int) -> str | None:
    """The reason why no run with these rewards logs a metric of this name; ``None``: one may.

    Args:
        entries: names of the entries of the rewards. ``samples``: responses to each prompt of the evaluation.
    """
    family, _, rest = name.partition("/")
    held_out = held_out_names(entries, samples)
    known = NAMES | held_out | {each.replace("eval/", "eval_se/", 1) for each in held_out if "@" not in each}
    known |= {f"weight/{entry}" for entry in entries}
    if name in known or LEVEL.fullmatch(name):
        return None
    measured = family not in ("eval", "eval_se") or rest.endswith(("_greedy", "_sampled"))
    if rest and measured and any(map(is_foreign, entries)):  # of their terms, or further figures
        return None
    near = difflib.get_close_matches(name, sorted(known), n=3)
    instead = f"near names are {', '.join(near)}" if near else "names are e.g. entropy, finished, eval/accuracy_sampled"
    return f"no run with these rewards logs a metric {name}; {instead}; docs/metrics.md lists all"


def held_out_names(entries: Collection[str], samples: int) -> set[str]:
    """Every metric that the evaluation of a run with these rewards may log, without those of terms of import paths."""
    return measured_names([*(each for each in entries if each in OF_TERMS), "format", "language"], samples)
