"""The client of reward servers: it checks them before the first score, sends batches, and fails closed.

    client = RewardClient(["http://a:8000", "http://b:8000"], model="helpful")
    answers = await client.answers(samples)

It can be pickled and forked: each process makes its own connections, after the same check.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar, get_args

from align.rewards.grouping import whole_batches, whole_halves
from align.rewards.models.event_loop import LoopThread
from align.rewards.models.protocols import TOKEN_PROTOCOLS, Answer, Protocol, Served, keel_body, read_keel
from align.rewards.models.replicas import Refused, ReplicaConfig, Replicas, RewardServerError
from align.rewards.models.server_check import PROBES, Check, Reference, compare
from align.rewards.terms import Sample
from reward_models.data.records import Conversation, Message
from reward_models.http_retry import RetriesExhaustedError

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")


class RewardClient:
    """Scores of samples from servers.

    A sample without a score has an :class:`Answer` with an ``error``, never a number. Before the first score, every
    healthy replica is checked: all must list the same model (``keel serve``), and with a ``reference`` a few scores
    must equal those of that model.

    Args:
        urls: of replicas.
        model: its name on the servers; optional for ``keel serve`` with a single model.
        protocol: see :mod:`align.rewards.models.protocols`.
        reference: directory of the model that is served. The protocols that take token ids need it: it has the chat
            template, the scoring span and the calibration.
        check: the comparison with the reference: ``scores``: with its own scores, computed on this machine's CPU;
            ``statistics``: with mean and deviation of its calibration, for models too large to load here.
        batch: most conversations in one request.
        options: of :class:`ReplicaConfig`.

    Attributes:
        counts: see :class:`Replicas`; also ``failed``, the conversations without an answer.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        model: str | None = None,
        protocol: Protocol = "keel",
        reference: str | None = None,
        check: Check = "scores",
        batch: int = 32,
        **options: Any,
    ) -> None:
        if protocol not in get_args(Protocol):
            raise RewardServerError(f"protocol={protocol!r} is none of {', '.join(get_args(Protocol))}")
        if check not in get_args(Check):
            raise RewardServerError(f"check={check!r} is none of {', '.join(get_args(Check))}")
        if protocol != "keel" and reference is None:
            raise RewardServerError(
                f"protocol {protocol} takes token ids: name the served model's directory as reference, for its "
                "tokenizer, chat template and calibration"
            )
        if batch < 1:
            raise RewardServerError(f"batch={batch} must be at least 1")
        self.config = ReplicaConfig(urls=(urls,) if isinstance(urls, str) else tuple(urls), **options)
        self.model, self.protocol, self.batch = model, protocol, batch
        self.counts: Counter[str] = Counter()
        self._reference_path, self._check_kind = reference, check
        self._fresh()

    def _fresh(self) -> None:
        self._thread, self._lock = LoopThread(), threading.Lock()
        self._replicas: Replicas | None = None
        self._reference: Reference | None = None
        self._served: Served | None = None

    def __getstate__(self) -> dict[str, Any]:
        live = ("_thread", "_lock", "_replicas", "_reference", "_served")
        return {name: value for name, value in self.__dict__.items() if name not in live}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._fresh()

    @property
    def served(self) -> Served:
        """The model that the servers serve; connects first."""
        self.connect()
        assert self._served is not None
        return self._served

    @property
    def reference(self) -> Reference | None:
        self.connect()
        return self._reference

    def connect(self) -> None:
        """Reach the servers and check them, once.

        Raises:
            RewardServerError: none is healthy, they serve different models, or other scores than the reference's.
        """
        with self._lock:
            if not self._thread.begin() and self._replicas is not None:
                return
            self._replicas = None
            health = "/ready" if self.protocol == "keel" else TOKEN_PROTOCOLS[self.protocol].health
            if self._reference is None and self._reference_path is not None:
                self._reference = Reference.load(self._reference_path, weights=self._check_kind == "scores")
            replicas = self._run(_made(self.config, health, self.counts))
            try:
                self._served = self._run(self._examine(replicas))
            except BaseException:
                self._run(replicas.close())
                raise
            self._replicas = replicas

    async def answers(self, samples: Sequence[Sample], *, step: int | None = None) -> list[Answer]:
        """One answer per sample, in order. ``step`` is for mixers with schedules."""
        await asyncio.to_thread(self.connect)
        return await asyncio.wrap_future(self._thread.submit(self._answers(samples, step)))

    def close(self) -> None:
        """Close the connections; they are made again when needed."""
        with self._lock:
            if self._replicas is not None:
                self._run(self._replicas.close())
                self._replicas = None

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._thread.submit(coroutine).result()

    async def _answers(self, samples: Sequence[Sample], step: int | None) -> list[Answer]:
        served = self._served
        assert served is not None
        # A reward model cannot score an empty response; a mixer can.
        asked = [i for i, s in enumerate(samples) if served.task == "mixer" or s.response.strip()]
        parts = [[asked[i] for i in part] for part in self._batches([samples[i] for i in asked])]
        found = await asyncio.gather(*(self._part([samples[i] for i in part], step) for part in parts))
        answers = [Answer()] * len(samples)
        for place, answer in zip(asked, (answer for part in found for answer in part), strict=True):
            answers[place] = answer
        return answers

    def _batches(self, samples: Sequence[Sample]) -> list[list[int]]:
        """The places of the samples of each request. Terms of a mixer may compare the samples of a prompt."""
        if self._served is not None and self._served.task == "mixer":
            return whole_batches(samples, self.batch)
        places = list(range(len(samples)))
        return [places[i : i + self.batch] for i in range(0, len(places), self.batch)]

    async def _part(self, samples: Sequence[Sample], step: int | None) -> list[Answer]:
        """The answers of one request. If it is refused, each half is tried: one sample or group may be the cause."""
        assert self._replicas is not None
        try:
            path, body, read = self._request(samples, step)
            return await self._replicas.ask(path, body, read)
        except Refused as error:
            if (halves := self._halves(samples)) is not None:
                parts = [[samples[i] for i in half] for half in halves]
                found = await asyncio.gather(*(self._part(part, step) for part in parts))
                answers = [Answer()] * len(samples)
                for half, given in zip(halves, found, strict=True):
                    for place, answer in zip(half, given, strict=True):
                        answers[place] = answer
                return answers
            problem = str(error)
        except RetriesExhaustedError as error:
            problem = str(error)
        self.counts["failed"] += len(samples)
        LOGGER.error("%d samples have no score: %s", len(samples), problem)
        return [Answer(error=problem)] * len(samples)

    def _halves(self, samples: Sequence[Sample]) -> tuple[list[int], list[int]] | None:
        if self._served is not None and self._served.task == "mixer":
            return whole_halves(samples)
        places, middle = list(range(len(samples))), len(samples) // 2
        return (places[:middle], places[middle:]) if middle else None

    def _request(self, samples: Sequence[Sample], step: int | None) -> tuple[str, Any, Callable[[Any], list[Answer]]]:
        """Path, body, and the function that reads the response."""
        if self.protocol != "keel":
            return self._token_request([(s.prompt, (Message("assistant", s.whole),)) for s in samples])
        served = self._served
        assert served is not None
        return "/v1/score", keel_body(samples, served, step), partial(read_keel, count=len(samples), served=served)

    def _token_request(
        self, pairs: Sequence[tuple[Conversation, Conversation]]
    ) -> tuple[str, Any, Callable[[Any], list[Answer]]]:
        assert self._reference is not None
        protocol = TOKEN_PROTOCOLS[self.protocol]
        body = protocol.body(self.model, self._reference.token_ids(pairs))
        return protocol.path, body, partial(self._reference_answers, count=len(pairs))

    def _reference_answers(self, payload: Any, count: int) -> list[Answer]:
        assert self._reference is not None
        raw = [answer.raw for answer in TOKEN_PROTOCOLS[self.protocol].read(payload, count)]
        return [Answer(value, self._reference.calibrated(value)) for value in raw if value is not None]

    # --- before the first score -------------------------------------------------------------------------------------

    async def _examine(self, replicas: Replicas) -> Served:
        """The model that all healthy replicas serve."""
        problems = await replicas.check()
        healthy = [url for url, problem in problems if problem is None]
        for url, problem in problems:
            if problem is not None:
                LOGGER.warning("reward server %s is not ready: %s", url, problem)
        if not healthy:
            raise RewardServerError(f"no reward server is ready: {'; '.join(f'{u}: {p}' for u, p in problems)}")
        found = {url: await self._find(replicas, url) for url in healthy}
        if len(set(found.values())) > 1:
            listed = "; ".join(f"{url}: {served}" for url, served in found.items())
            raise RewardServerError(f"the replicas serve different models: {listed}")
        self._served = served = found[healthy[0]]
        if self._reference is not None:
            if self.protocol == "keel" and served.task != self._reference.task:
                raise RewardServerError(f"{healthy[0]} serves {served}, and {self._reference_path} is no such model")
            for url in healthy:
                alone = Replicas(ReplicaConfig(urls=(url,), give_up_after=self.config.timeout), replicas.health)
                try:
                    compare(await self._probe(alone), self._reference, self._check_kind, where=url)
                finally:
                    await alone.close()
        return served

    async def _find(self, replicas: Replicas, url: str) -> Served:
        if self.protocol != "keel":
            assert self._reference is not None
            return Served(self.model or "", self._reference.task, "")
        listed = await replicas.get(url, "/models")
        try:
            models = [Served(m["name"], m["task"], m["manifest"]) for m in listed["models"]]
        except (TypeError, LookupError):
            raise RewardServerError(f"{url}/models lists no models: {str(listed)[:200]}") from None
        fitting = [m for m in models if self.model in (None, m.name)]
        if len(fitting) != 1:
            names = ", ".join(f"{m.name} ({m.task})" for m in models) or "nothing"
            wanted = f"no model {self.model!r}" if self.model else "several models: say which is meant"
            raise RewardServerError(f"{url} serves {wanted}; it serves {names}")
        return fitting[0]

    async def _probe(self, replicas: Replicas) -> list[float]:
        """Raw scores of the probes from one replica."""
        samples = [Sample(prompt=p, response=r, domain="helpfulness", tokens=0, finished=True) for p, r in PROBES]
        try:
            answers = await replicas.ask(*self._request(samples, None))
        except (RetriesExhaustedError, Refused) as error:
            raise RewardServerError(f"the check of {replicas.config.urls[0]} failed: {error}") from None
        scores = [answer.raw for answer in answers if answer.raw is not None]
        if len(scores) != len(samples):
            errors = [a.error or "no score" for a in answers if a.raw is None]
            raise RewardServerError(f"the check of {replicas.config.urls[0]} failed: {errors[0]}")
        return scores


async def _made(config: ReplicaConfig, health: str, counts: Counter[str]) -> Replicas:
    return Replicas(config, health, counts)
