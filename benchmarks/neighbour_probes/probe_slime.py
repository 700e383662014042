"""slime, from its source: its dispatch of rewards over its own samples, single and in groups."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from probe import LANGUAGE, SAMPLES, Report, arguments, expected, raises, same

PATH = "align.bridges.slime.reward"


def samples(sample_type: Any) -> list[Any]:
    return [
        sample_type(
            prompt=[{"role": "user", "content": question}],
            response=response,
            response_length=len(response),
            label=answer,
            metadata={"language": LANGUAGE},
            status=sample_type.Status.COMPLETED,
        )
        for question, answer, response in SAMPLES
    ]


def main() -> None:
    given, report = arguments(), Report()
    with report.cell("imports"):
        from slime.rollout.rm_hub import async_rm, batched_async_rm
        from slime.utils.types import Sample

        import align.bridges.slime  # noqa: F401
    ours = SimpleNamespace(custom_rm_path=PATH, rm_type=None)
    with report.cell("scores_equal"):

        async def one_by_one() -> list[Any]:
            return await asyncio.gather(*(async_rm(ours, sample) for sample in samples(Sample)))

        same(asyncio.run(one_by_one()), expected())
    with report.cell("steps", "groups through batched_async_rm; slime's rollout and trainer need a GPU", steps=2):
        half = len(SAMPLES) // 2
        groups = samples(Sample)
        found = [
            value for group in (groups[:half], groups[half:]) for value in asyncio.run(batched_async_rm(ours, group))
        ]
        same(found, expected())
    with report.cell("loud", "slime has no reward of its own without --rm-type, and raises"):
        with raises(NotImplementedError, "not specified"):
            asyncio.run(async_rm(SimpleNamespace(custom_rm_path=None, rm_type=None), samples(Sample)[0]))
        with raises((ImportError, AttributeError), "gone"):
            wrong = SimpleNamespace(custom_rm_path="align.bridges.slime.gone", rm_type=None)
            asyncio.run(async_rm(wrong, samples(Sample)[0]))
    report.write(given.out)


if __name__ == "__main__":
    main()
