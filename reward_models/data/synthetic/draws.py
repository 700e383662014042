"""A synthetic data set with a programmatic gold judge: everything Keel does, offline and on a CPU.

``records`` yields what a reward model trains on, ``prompts`` what reinforcement learning samples from,
``demonstrations`` what a policy is started from, ``additions`` a task so narrow that a small policy learns it in
minutes. Everything is a function of its arguments: the same on every machine, and the first records of a longer draw
are those of a shorter one. A prompt is in the test split or in the train split by a hash of its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from random import Random
from typing import Literal

from reward_models.data.records import TASKS, Domain, Message, Prompt, Record, SafetyLabel
from reward_models.data.synthetic import defects, general, reasoning, safety
from reward_models.data.synthetic.annotator import JudgedComparison, judged_comparisons, thought_about, with_filler
from reward_models.data.synthetic.candidates import candidates
from reward_models.data.synthetic.constrained import constrained_prompts
from reward_models.data.synthetic.gold import helpfulness, is_correct, is_unsafe, summary
from reward_models.data.synthetic.templates import Task, normalise, split_of

VERSION = "4"

Name = Literal["helpful", "safety", "reasoning"]
Split = Literal["train", "test"]

NAMES: tuple[Name, ...] = ("helpful", "safety", "reasoning")
SPLITS: tuple[Split, ...] = ("train", "test")
SIZES: dict[Name, dict[Split, int]] = {
    "helpful": {"train": 6000, "test": 500},
    "safety": {"train": 4000, "test": 500},
    "reasoning": {"train": 6000, "test": 500},
}
PROMPT_SIZES: dict[Name, dict[Split, int]] = {
    "helpful": {"train": 2500, "test": 200},
    "safety": {"train": 1200, "test": 100},
    "reasoning": {"train": 6000, "test": 500},
}
SAFETY_NOISE = 0.02
SAFETY_REPEATS = 4

# What a small policy learns in minutes: sums of two numbers, plainly (three in four) and in words; instructions that
# take a word or two from the prompt.
ADDITIONS = ("add", "gain")
INSTRUCTIONS = ("note", "story", "name", "opposite")

__all__ = [
    "ADDITIONS",
    "INSTRUCTIONS",
    "NAMES",
    "SIZES",
    "SPLITS",
    "VERSION",
    "JudgedComparison",
    "additions",
    "candidates",
    "constrained_prompts",
    "demonstrations",
    "good_replies",
    "helpfulness",
    "is_correct",
    "is_unsafe",
    "judged_comparisons",
    "normalise",
    "prompts",
    "records",
    "summary",
]

_DOMAINS: dict[str, Domain] = {"reasoning": "reasoning", **{names.model: names.domain for names in TASKS.values()}}
_DRAWS = {"helpful": general.draw_task, "safety": safety.draw_task, "reasoning": reasoning.draw_task}


def _check(name: str, split: str) -> None:
    if name not in NAMES:
        raise ValueError(f"name {name!r} is none of {', '.join(NAMES)}")
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")


def _tasks(name: Name, split: str, seed: int, repeats: int = 1) -> Iterator[Task]:
    rng = Random(f"synthetic-prompts-{name}-{split}-{seed}")
    uses: dict[str, int] = {}
    while True:
        task = _DRAWS[name](rng)
        key = normalise(task.prompt)
        if split_of(task.prompt) == split and uses.get(key, 0) < repeats:
            uses[key] = uses.get(key, 0) + 1
            yield task


def _prompt(name: Name, split: str, index: int, task: Task) -> Prompt:
    reasoned = name == "reasoning"
    return Prompt(
        prompt=(Message("user", task.prompt),),
        domain=_DOMAINS[name],
        answer=reasoning.solve(task.prompt) if reasoned else None,
        language=reasoning.language_of(task.prompt) if reasoned else "en",
        id=f"{name}-prompt-{split}-{index:06d}",
        source="synthetic",
    )


def _safety_labels(split: str, seed: int) -> Iterator[SafetyLabel]:
    rng = Random(f"synthetic-safety-{split}-{seed}")
    for index, task in enumerate(_tasks("safety", split, seed, SAFETY_REPEATS)):
        reply = safety.reply_to(rng, task)
        unsafe = is_unsafe(task.prompt, reply) != (rng.random() < SAFETY_NOISE)
        yield SafetyLabel(
            prompt=(Message("user", task.prompt),),
            response=(Message("assistant", reply),),
            label="unsafe" if unsafe else "safe",
            category=safety.category(task),
            id=f"safety-{split}-{index:06d}",
            source="synthetic",
        )


def records(name: Name, split: Split, n: int | None = None, seed: int = 0) -> Iterator[Record]:
    """Records of one name: ``helpful`` comparisons, ``safety`` labels or ``reasoning`` prompts with answers.

    Args:
        n: how many; ``None`` for the size in ``SIZES``.
        seed: another seed is another data set of the same distribution.
    """
    _check(name, split)
    count = SIZES[name][split] if n is None else n
    if name == "reasoning":
        return prompts(split, name, count, seed)
    if name == "safety":
        return islice(_safety_labels(split, seed), count)
    return (judged.comparison for judged in islice(judged_comparisons(split, seed), count))


def prompts(split: Split, name: Name | None = None, n: int | None = None, seed: int = 0) -> Iterator[Prompt]:
    """Prompts without replies for reinforcement learning, each once: of one name, or all three one after the other."""
    if name is None:
        return chain.from_iterable(prompts(split, each, n, seed) for each in NAMES)
    _check(name, split)
    tasks = islice(_tasks(name, split, seed), PROMPT_SIZES[name][split] if n is None else n)
    return (_prompt(name, split, index, task) for index, task in enumerate(tasks))


def _additions(split: str, seed: int) -> Iterator[Task]:
    """Tasks of ``additions``, each once."""
    tasks = _tasks("reasoning", split, seed)
    return (t for t in tasks if t.family in ADDITIONS and reasoning.language_of(t.prompt) == "en")


def _rough_solution(rng: Random, task: Task) -> str:
    reply, draw = reasoning.solution(task), rng.random()
    if draw < 0.15:
        return reasoning.solution(task, "zh")
    if draw < 0.20:
        answer = str(reasoning.solve(task.prompt))
        wrong = str(int(answer) + rng.choice((-10, -1, 1, 10)))
        return reply.replace(f"<answer>{answer}<", f"<answer>{wrong}<")
    if draw < 0.30:
        return rng.choice((reply.replace("</think>", ""), reply.replace("<answer>", " ").replace("</answer>", "")))
    return reply


def _rough_reply(rng: Random, task: Task) -> str:
    reply, draw = general.good_reply(rng, task), rng.random()
    if draw < 0.30:
        reply = defects.worse_reply(rng, task)[1]
    elif draw < 0.40:
        reply = with_filler(rng, reply)
    return f"<think>{thought_about(rng, task)}</think>\n{reply}"


def demonstrations(split: Split, n: int | None = None, seed: int = 0) -> Iterator[tuple[Prompt, str]]:
    """Prompts with the replies a policy is started from, the names in turn: two additions to one of each other.

    General instructions are of the families ``INSTRUCTIONS``. A training prompt of these and of safety comes at most
    eight times, every other once.
    ``n`` counts demonstrations; ``None`` gives 20,000 for training and 400 for testing. They are rough, so that
    reinforcement learning has something to mend. Of the additions 15 % think in Chinese, 5 % slip and 10 % break the
    format; of the general replies 30 % have a defect and 10 % filler; of the replies to safety prompts 30 % take the
    wrong side.
    """
    count = (20000 if split == "train" else 400) if n is None else n
    _check("reasoning", split)
    rng, repeats = Random(f"synthetic-demonstrations-{split}-{seed}"), 8 if split == "train" else 1
    streams = {
        "reasoning": _additions(split, seed),
        "helpful": (task for task in _tasks("helpful", split, seed, repeats) if task.family in INSTRUCTIONS),
        "safety": _tasks("safety", split, seed, repeats),
    }
    rough: dict[Name, Callable[[Random, Task], str]] = {
        "reasoning": _rough_solution,
        "helpful": _rough_reply,
        "safety": safety.demonstration,
    }
    order: tuple[Name, ...] = ("reasoning", "helpful", "reasoning", "safety")
    for index in range(count):
        name = order[index % len(order)]
        task = next(streams[name])
        yield _prompt(name, split, index, task), rough[name](rng, task)


def additions(split: Split, n: int | None = None, seed: int = 0) -> Iterator[tuple[Prompt, str]]:
    """English prompts that ask for the sum of two numbers, each once, with a correct solution worked column by column.

    ``None`` gives 3,000 for training and 200 for testing.
    """
    count = (3000 if split == "train" else 200) if n is None else n
    _check("reasoning", split)
    for index, task in enumerate(islice(_additions(split, seed), count)):
        yield _prompt("reasoning", split, index, task), reasoning.solution(task)


def good_replies(split: Split, n: int | None = None, seed: int = 0) -> Iterator[tuple[Prompt, str]]:
    """General and safety prompts in turn, as in ``demonstrations``, each with a reply that the gold judge finds good.

    ``None`` gives 2,000 for training and 200 for testing.
    """
    count = (2000 if split == "train" else 200) if n is None else n
    _check("helpful", split)
    rng, repeats = Random(f"synthetic-good-replies-{split}-{seed}"), 8 if split == "train" else 1
    general_tasks = (t for t in _tasks("helpful", split, seed, repeats) if t.family in INSTRUCTIONS)
    safety_tasks = _tasks("safety", split, seed, repeats)
    for index in range(count):
        name: Name = "safety" if index % 2 else "helpful"
        task = next(safety_tasks if index % 2 else general_tasks)
        reply = _good_reply(rng, name, task)
        while helpfulness(task.prompt, reply) < 1:
            reply = _good_reply(rng, name, task)
        yield _prompt(name, split, index, task), reply


def _good_reply(rng: Random, name: Name, task: Task) -> str:
    """A reply with a thought before it, which is good in most draws."""
    if name == "safety":
        return safety.demonstration(rng, task)
    return f"<think>{thought_about(rng, task)}</think>\n{general.good_reply(rng, task)}"
