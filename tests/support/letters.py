"""A reward term outside the package, such as users write: even an untrained policy's responses differ in it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from align.rewards.terms import Sample


class Letters:
    """The share of a response's characters that are letters of the first half of the alphabet."""

    name = "letters"

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [sum("a" <= c <= "m" for c in s.response) / max(1, len(s.response)) for s in samples]


class Silent(Letters):
    """Cannot score every third response, by its length."""

    name = "silent"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        shares = super().score(samples)
        return [share if len(s.response) % 3 else None for s, share in zip(samples, shares, strict=True)]


class AgainstGroup(Letters):
    """The share of letters less the mean of the sample's group, which must be there whole: four samples."""

    name = "against_group"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        shares = super().score(samples)
        groups: dict[int | None, list[float]] = {}
        for sample, share in zip(samples, shares, strict=True):
            groups.setdefault(sample.group, []).append(share or 0.0)
        if any(len(group) != 4 for group in groups.values()):
            raise ValueError("a group is divided")
        means = {number: sum(group) / len(group) for number, group in groups.items()}
        return [(share or 0.0) - means[sample.group] for sample, share in zip(samples, shares, strict=True)]


class Broken(Letters):
    """Fails on every third sample, in one of several ways."""

    name = "broken"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        ways = (0.5, None, float("nan"))
        return [ways[len(s.response) % 3] for s in samples]


class Raises(Letters):
    name = "raises"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        raise RuntimeError("broken")


class Hangs(Letters):
    name = "hangs"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        time.sleep(30)
        return super().score(samples)


class Nan(Letters):
    name = "nan"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [float("nan")] * len(samples)


class TooFew(Letters):
    name = "too_few"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return super().score(samples[1:])


class Dies(Letters):
    """Its work is done by a process that dies."""

    name = "dies"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        subprocess.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], check=True)
        return super().score(samples)


class Flaky(Letters):
    """Fails at its first call and answers when it is asked again."""

    name = "flaky"

    def __init__(self) -> None:
        self.calls = 0

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        self.calls += 1
        if self.calls == 1:
            raise ConnectionError("not there yet")
        return super().score(samples)


class Spike(Letters):
    """Far too high in one call, and never again."""

    name = "spike"

    def __init__(self, call: int) -> None:
        self.call, self.calls = call, 0

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        self.calls += 1
        return [100.0 if self.calls == self.call else 0.0] * len(samples)


class Late(Letters):
    """The share of letters of the second half of the alphabet: where :class:`Letters` rises, it falls."""

    name = "late"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [sum("n" <= c <= "z" for c in s.response) / max(1, len(s.response)) for s in samples]


class Slow(Letters):
    """An odd number of tokens earns more; it takes its time, as a judge does."""

    name = "slow"

    def __init__(self, seconds: float = 0.2) -> None:
        self.seconds = seconds

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        time.sleep(self.seconds)
        return [float(s.tokens % 2) for s in samples]


class Brief(Letters):
    """Fewer characters earn more."""

    name = "brief"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [-float(s.tokens) for s in samples]
