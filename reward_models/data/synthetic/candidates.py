"""Best-of-N problems: one good reply and three that the gold judge puts clearly below it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

from reward_models.data.records import Candidates, Message
from reward_models.data.synthetic import defects, general, gold
from reward_models.data.synthetic.annotator import MIN_GAP, with_filler
from reward_models.data.synthetic.templates import normalise, split_of

SIZE = 200
WRONG = 3
FILLER_SHARE = 0.25
TRIES = 12  # draws of a worse reply before a prompt is given up


def candidates(split: str, n: int | None = None, seed: int = 0) -> Iterator[Candidates]:
    """``n`` problems (200 if ``None``) on as many prompts; ``source`` is the prompt's family.

    A quarter of the wrong replies are padded or flatter, which a model that has learnt the annotator's taste falls for.
    """
    return islice(_candidates(split, seed), SIZE if n is None else n)


def _candidates(split: str, seed: int) -> Iterator[Candidates]:
    rng = Random(f"synthetic-candidates-{split}-{seed}")
    seen: set[str] = set()
    while True:
        task = general.draw_task(rng)
        key = normalise(task.prompt)
        if split_of(task.prompt) != split or key in seen:
            continue
        good = general.good_reply(rng, task)
        limit = gold.helpfulness(task.prompt, good) - MIN_GAP
        wrong: list[str] = []
        for _ in range(TRIES):
            reply = defects.worse_reply(rng, task)[1]
            if rng.random() < FILLER_SHARE:
                reply = with_filler(rng, reply)
            if reply.strip() and reply not in wrong and gold.helpfulness(task.prompt, reply) <= limit:
                wrong.append(reply)
            if len(wrong) == WRONG:
                break
        else:
            continue
        seen.add(key)
        yield Candidates(
            prompt=(Message("user", task.prompt),),
            right=((Message("assistant", good),),),
            wrong=tuple((Message("assistant", reply),) for reply in wrong),
            id=f"best-of-n-{split}-{len(seen) - 1:06d}",
            source=task.family,
        )
