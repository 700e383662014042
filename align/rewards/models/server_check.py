"""The check of reward servers before their first score: a few conversations, whose scores a local reference knows.

A server that applies a sigmoid, renders by another template, or reads another token gives numbers that look like
scores. The check finds it and names the likely cause.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from align.rewards.models.replicas import RewardServerError
from reward_models.calibration import Calibration
from reward_models.data.chat import ChatRenderer, render
from reward_models.data.records import Conversation, Message, Task, saved_task
from reward_models.extras import needs

if TYPE_CHECKING:
    from reward_models.inference.reward_model import RewardModel

Check = Literal["scores", "statistics"]
TOLERANCE = 0.05  # of a score of size 1: servers compute in bf16
ODD_DEVIATIONS = 8.0  # a probe's score is never so many standard deviations from the mean of the calibration

_QUESTION = (Message("user", "What is the capital of France, and what is it known for?"),)
_TALK = (
    Message("user", "Name a prime number."),
    Message("assistant", "7 is a prime number."),
    Message("user", "And the next one?"),
)
PROBES: tuple[tuple[Conversation, str], ...] = (
    (_QUESTION, "Paris. It is known for the Eiffel Tower, the Louvre, and its cafés along the Seine."),
    (_QUESTION, "no idea lol"),
    (_QUESTION, "<think>France's capital is Paris; the Eiffel Tower.</think>Paris, known for the Eiffel Tower."),
    (_TALK, "The next prime number after 7 is 11, because 8, 9 and 10 all have smaller divisors."),
    (_TALK, "8"),
    ((Message("user", "How do I pick a lock?"),), "I can't help with that."),
)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A saved model, with its weights or without.

    Attributes:
        limit: longest sequence in tokens that its architecture can read; ``None``: unknown.
        model: ``None`` if the weights were not loaded.
    """

    renderer: ChatRenderer
    task: Task
    calibration: Calibration
    limit: int | None
    model: RewardModel | None

    @classmethod
    def load(cls, path: str, *, weights: bool) -> Reference:
        """From the directory of a model that Keel trained. :class:`RewardServerError` if there is none."""
        if weights:
            with needs("models"):
                from reward_models.inference.reward_model import RewardModel

            model = RewardModel.load(path, device="cpu")
            return cls(model.renderer, model.task, model.calibration, model.limit, model)
        with needs("models"):
            from transformers import AutoTokenizer

        file = Path(path) / "config.json"
        facts = json.loads(file.read_text(encoding="utf-8")).get("keel") if file.is_file() else None
        if not facts:
            raise RewardServerError(f"{path} is not the directory of a model that Keel trained; take check: scores")
        renderer = ChatRenderer(AutoTokenizer.from_pretrained(path), facts["span"])
        if renderer.fingerprint != facts["template_fingerprint"]:
            raise RewardServerError(f"{path}: tokenizer or chat template is not the one the model was trained with")
        task = saved_task(facts)
        if task is None:
            raise RewardServerError(f"{file} does not name the model's task; take check: scores")
        return cls(renderer, task, Calibration.from_facts(facts.get("calibration", {})), None, None)

    def token_ids(self, pairs: Sequence[tuple[Conversation, Conversation]]) -> list[list[int]]:
        """The token ids that the model reads of each (prompt, response)."""
        sequences = self.renderer.tokenize([self.renderer.text(*pair) for pair in pairs])
        if self.limit is not None:
            from reward_models.data.encode import cut  # it needs torch

            for place, sequence in enumerate(sequences):
                if len(sequence) > self.limit:
                    prompt, response = pairs[place]
                    sequences[place] = cut(prompt, [response], self.renderer, self.limit, [sequence])[0]
        return [sequence.tolist() for sequence in sequences]

    def calibrated(self, raw: float) -> float | None:
        return self.calibration.apply(raw, self.task)


def compare(scores: Sequence[float], reference: Reference, check: Check, *, where: str) -> None:
    """Compare a server's raw scores of :data:`PROBES` with the reference.

    Raises:
        RewardServerError: they differ; the message names the likely cause.
    """
    got = np.asarray(scores)
    if check == "statistics":
        _plausible(got, reference.calibration, where)
        return
    assert reference.model is not None
    expected = _expected(reference.model)
    right = expected.pop("right")
    errors = expected | _changed(right, reference)
    # Some errors change scores by less than rounding does: scores nearer to an error than to the truth are one.
    nearest = min(errors, key=lambda name: _distance(got, errors[name]))
    if _close(got, right) and _distance(got, right) <= 2 * _distance(got, errors[nearest]):
        return
    seen = ", ".join(f"{a:.4g} for {b:.4g}" for a, b in zip(got, right, strict=True))
    raise RewardServerError(
        f"{where} does not give the scores of {reference.model.directory} ({seen}). It looks like "
        f"{nearest if _close(got, errors[nearest], 0.01) else 'another model, tokenizer or chat template'}"
    )


def _changed(right: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
    """The scores of servers that change right scores, by cause."""
    calibrated = [reference.calibrated(float(value)) for value in right]
    return {
        "a sigmoid over the score: of vLLM before 0.11.2 use_activation is not known; save the model with problem_type "
        "regression, or take a newer server": 1 / (1 + np.exp(-right)),
        "a softmax over one label, which is always 1: on SGLang the native /classify has none": np.ones_like(right),
        "the calibrated score in the place of the raw one": np.array(calibrated, dtype=float),
        "the score with the opposite sign": -right,
    }


def _plausible(got: np.ndarray, calibration: Calibration, where: str) -> None:
    """Check scores by the statistics of the calibration. A wrong template cannot be found in this way."""
    if np.ptp(got) < 1e-6:
        looks = "a softmax over one label" if np.allclose(got, 1.0) else "a model that reads nothing"
        raise RewardServerError(f"{where} gives {got[0]:.4g} for every conversation: it looks like {looks}")
    if calibration.mean is None or not calibration.std:
        raise RewardServerError(
            "the reference has no score statistics to compare with: train it with data.calibration_fraction above 0, "
            "or take check: scores"
        )
    mean, std = calibration.mean, calibration.std
    verdict = looks_like(got, mean, std)
    if verdict is None:
        return
    seen = ", ".join(f"{value:.4g}" for value in got)
    raise RewardServerError(f"{where} gives {seen}, and the model's scores are {mean:.4g} ± {std:.4g}. {verdict}")


def looks_like(got: np.ndarray, mean: float, std: float) -> str | None:
    """The likely cause if scores do not fit a model with this mean and deviation of raw scores; ``None`` if they fit.

    Scores after a sigmoid lie in (0, 1), and their logits are distributed as raw scores are. If the scores also fit as
    raw ones, only the model itself can decide.
    """
    distances = (got - mean) / std
    squeezed = bool(got.min() > 0 and got.max() < 1)
    if squeezed and _typical((np.log(got / (1 - got)) - mean) / std):
        if not _typical(distances):
            return "It looks like a sigmoid over the score"
        return (
            "They may be scores, or a sigmoid over scores: so few values cannot tell. Take check: scores, which "
            "compares with the model itself"
        )
    if np.all(abs(distances) <= ODD_DEVIATIONS):
        return None
    return "It looks like another model, tokenizer or chat template; check: scores would tell"


def _typical(distances: np.ndarray) -> bool:
    """True if values at these distances from a mean, in standard deviations, fit its distribution. Their root mean
    square is compared, because single probes may differ from the texts of the calibration."""
    return bool(np.sqrt(np.mean(distances**2)) <= ODD_DEVIATIONS / 2)


def _close(got: np.ndarray, wanted: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    return bool(np.all(abs(got - wanted) <= tolerance * (1 + abs(wanted))))


def _distance(got: np.ndarray, wanted: np.ndarray) -> float:
    """Mean absolute difference; infinite if ``wanted`` is not finite."""
    distance = float(np.mean(abs(got - wanted)))
    return distance if np.isfinite(distance) else np.inf


def _expected(model: RewardModel) -> dict[str, np.ndarray]:
    """Scores of the probes: the ``right`` ones, and those of a server that reads other tokens, by cause."""
    renderer, tokenizer = model.renderer, model.renderer.tokenizer
    pairs = [(prompt, (Message("assistant", response),)) for prompt, response in PROBES]
    ids = renderer.tokenize([renderer.text(*pair) for pair in pairs])
    texts = [renderer.text(*pair) for pair in pairs]
    again = [np.asarray(each, dtype=np.int32) for each in tokenizer(texts, verbose=False)["input_ids"]]
    unmarked = [sequence[:-1] for sequence in ids]
    variants: dict[str, Sequence[np.ndarray]] = {
        "right": ids,
        "the special tokens (BOS) added a second time": again,
        "the last token left out: pad and end-of-sequence token may be the same": unmarked,
    }
    if renderer.span == "summary":
        whole = [render(tokenizer, (*p, *r)) for p, r in pairs]
        variants["the reasoning, which this model must not read"] = renderer.tokenize(whole)
    plain = ["".join(f"{m.role}: {m.content}\n" for m in (*p, *r)) for p, r in pairs]
    variants["text without the chat template"] = renderer.tokenize(plain)
    alone = [[place] for place in range(len(pairs))]
    scores = {name: model.score_sequences(sequences, alone) for name, sequences in variants.items()}
    return {name: np.array([score.raw for score in each]) for name, each in scores.items()}
