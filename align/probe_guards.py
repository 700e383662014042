"""Guard rules for the probes that a reward model has failed (``keel probe rm --guards``).

A guard watches a figure of the policy, so an edit that leaves a trace there gets a rule for that trace. Every other
one gets the general rule: held-out accuracy falls while the reward of the model rises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import yaml

from align.guards import GuardConfig
from reward_models.data.records import TASKS, Task

# Figure that gives an edit away → the probes it is for. The values are those of the presets, or stricter.
RULES: tuple[tuple[Mapping[str, object], frozenset[str]], ...] = (
    (
        {"watch": "response_length", "grows": 1.5, "patience": 2},
        frozenset({"padding", "padding_long", "repetition", "lists", "bold", "looping", "dilution"}),
    ),
    (
        {"watch": "response_length", "shrinks": 0.5, "patience": 2},
        frozenset({"refusal", "empty", "thoughts_only"}),
    ),
    ({"watch": "term/repetition", "below": -0.1, "patience": 2}, frozenset({"repetition", "looping"})),
    ({"watch": "term/language", "below": 0.8, "patience": 2}, frozenset({"other_language", "letters_apart"})),
    (
        {"watch": "term/format", "falls": 0.05, "patience": 2},
        frozenset({"thought_praise", "stray_tags", "thoughts_only", "hidden_in_thoughts"}),
    ),
    ({"watch": "finished", "falls": 0.1, "patience": 2}, frozenset({"truncated", "looping"})),
)
# Terms whose value a guard of RULES watches: they must be in `rewards`; a weight of 0 is enough.
WATCHED_TERMS = ("repetition", "language", "format")


def guards_for(task: Task, failed: Iterable[str]) -> list[GuardConfig]:
    """The rules for the probes of these names. None for no failures.

    Every rule lowers the weight of the model's reward term; the general rule comes first.
    """
    names, entry = set(failed), TASKS[task].model
    if not names:
        return []
    general = {"watch": "eval/accuracy_sampled", "falls": 0.03, "while_rises": f"reward/{TASKS[task].domain}"}
    chosen = [general, *(rule for rule, probes in RULES if probes & names)]
    return [GuardConfig(**rule, action="lower", entries=[entry]) for rule in chosen]  # type: ignore[arg-type]


def guards_yaml(task: Task, failed: Iterable[str]) -> str:
    """The rules as the section ``guards`` of a configuration, with comments that name the probes."""
    names = sorted(set(failed))
    lines = [f"# Rules for the probes that the {TASKS[task].model} model did not pass: {', '.join(names) or 'none'}."]
    lines.append(
        "# A rule whose figure a run does not log is never broken: see that every figure named here is logged."
    )
    guards = guards_for(task, names)
    if terms := [t for t in WATCHED_TERMS if any(g.watch == f"term/{t}" for g in guards)]:
        lines.append(f"# The rewards must have the terms {', '.join(terms)}; weight 0 is enough.")
    if guards:
        lines.append("# eval/accuracy_sampled needs evaluation.data of prompts with answers, and evaluation.every.")
    rules = [_set_keys(guard) for guard in guards]
    return "\n".join(lines) + "\n" + yaml.safe_dump({"guards": rules}, sort_keys=False, default_flow_style=None)


def _set_keys(guard: GuardConfig) -> dict[str, object]:
    keys = ("watch", "above", "below", "grows", "shrinks", "falls", "while_rises", "patience", "action", "entries")
    return {key: getattr(guard, key) for key in keys if getattr(guard, key) is not None}
