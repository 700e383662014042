from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reward_models.backbone.config import ModelConfig
from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.config import LossConfig, RewardModelConfig
from reward_models.data.encode import TokenBatch
from reward_models.data.token_sets import TokenizedSet, TokenWriter
from reward_models.data.trees import PromptTree
from reward_models.losses import bradley_terry, safety_bce
from reward_models.model import SequenceScorer
from reward_models.runtime.metrics import Metrics
from reward_models.trainer import Objective

LN2, LN3 = math.log(2), math.log(3)
TIE, DECIDED = torch.tensor([True]), torch.tensor([False])
differences = st.floats(-30, 30)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pair_loss(chosen: float, rejected: float, margin: float | None = None, tie: bool | None = None, **kw: Any) -> float:
    loss_B = bradley_terry(
        vector(chosen),
        vector(rejected),
        None if margin is None else vector(margin),
        None if tie is None else torch.tensor([tie]),
        **kw,
    )
    assert loss_B.shape == (1,)
    return loss_B.item()


# Where σ is easy: σ(ln 3) = 3/4, σ(−ln 3) = 1/4, σ(ln 2) = 2/3, σ(2 ln 2) = 4/5.
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (pair_loss(LN3, 0), math.log(4 / 3)),
        (pair_loss(0, LN3), math.log(4)),
        (pair_loss(2 * LN3, 0, margin=LN3), math.log(4 / 3)),
        (pair_loss(LN3, 0, label_smoothing=0.1), 0.9 * math.log(4 / 3) + 0.1 * math.log(4)),
        (pair_loss(1 + LN3, 1, centering=0.5), math.log(4 / 3) + 0.5 * (2 + LN3) ** 2),
        (pair_loss(LN3, 0, tie=False), math.log(4 / 3)),
        (pair_loss(LN3, 0, tie=True), 0.5 * math.log(4 / 3) + 0.5 * math.log(4)),
        (pair_loss(LN3, 0, margin=7, tie=True), 0.5 * math.log(4 / 3) + 0.5 * math.log(4)),
        (pair_loss(0, 0, tie=False, tie_threshold=LN2), math.log(3)),
        (pair_loss(0, 0, tie=True, tie_threshold=LN2), math.log(3)),
        (pair_loss(LN2, 0, tie=False, tie_threshold=LN2), math.log(2)),
        (pair_loss(LN2, 0, tie=True, tie_threshold=LN2), -math.log(4 / 5 - 1 / 2)),
        (pair_loss(0, LN2, tie=False, tie_threshold=LN2), -math.log(1 - 4 / 5)),
    ],
)
def test_bradley_terry_gives_the_values_worked_by_hand(loss: float, expected: float) -> None:
    assert loss == pytest.approx(expected, rel=1e-12)


def bce(score: float, safe: float, **kw: float) -> float:
    loss_B = safety_bce(vector(score), vector(safe), **kw)
    assert loss_B.shape == (1,)
    return loss_B.item()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (bce(LN3, 1), math.log(4 / 3)),
        (bce(LN3, 0), math.log(4)),
        (bce(LN3, 1, safe_weight=3, unsafe_weight=5), 3 * math.log(4 / 3)),
        (bce(LN3, 0, safe_weight=3, unsafe_weight=5), 5 * math.log(4)),
        (bce(LN3, 1, prior_shift=-LN3), math.log(2)),
        (bce(0, 1, prior_shift=LN3), math.log(4 / 3)),
        (bce(LN3, 1, label_smoothing=0.1), 0.9 * math.log(4 / 3) + 0.1 * math.log(4)),
        (bce(LN3, 0, label_smoothing=0.1), 0.1 * math.log(4 / 3) + 0.9 * math.log(4)),
    ],
)
def test_safety_bce_gives_the_values_worked_by_hand(loss: float, expected: float) -> None:
    assert loss == pytest.approx(expected, rel=1e-12)


def test_equal_scores_cost_ln_2_whatever_the_scores() -> None:
    scores = torch.tensor([0.0, -3.0, 11.0])
    for tie in (None, torch.tensor([True, False, True])):
        torch.testing.assert_close(bradley_terry(scores, scores, None, tie), torch.full((3,), LN2))
    torch.testing.assert_close(safety_bce(torch.zeros(2), torch.tensor([0.0, 1.0])), torch.full((2,), LN2))


@given(a=differences, b=differences, shift=differences, tie=st.booleans())
def test_a_common_shift_of_both_scores_changes_nothing_but_the_centering(
    a: float, b: float, shift: float, tie: bool
) -> None:
    for options in ({}, {"label_smoothing": 0.2}, {"tie_threshold": 0.7}):
        assert pair_loss(a + shift, b + shift, 0.3, tie, **options) == pytest.approx(
            pair_loss(a, b, 0.3, tie, **options), rel=1e-9, abs=1e-9
        )
    centred = [pair_loss(a + s, b + s, centering=0.1) - 0.1 * (a + b + 2 * s) ** 2 for s in (0.0, shift)]
    assert centred[0] == pytest.approx(centred[1], rel=1e-9, abs=1e-9)


@given(d=differences, threshold=st.floats(1e-3, 10))
def test_rao_kupper_probabilities_of_first_tie_and_second_sum_to_one(d: float, threshold: float) -> None:
    first = pair_loss(d, 0, tie=False, tie_threshold=threshold)
    second = pair_loss(0, d, tie=False, tie_threshold=threshold)
    tied = pair_loss(d, 0, tie=True, tie_threshold=threshold)
    assert math.exp(-first) + math.exp(-second) + math.exp(-tied) == pytest.approx(1, rel=1e-9)


@given(d=differences)
def test_a_vanishing_tie_threshold_is_bradley_terry(d: float) -> None:
    assert pair_loss(d, 0, tie=False, tie_threshold=1e-9) == pytest.approx(pair_loss(d, 0), rel=1e-6)


@given(a=differences, b=differences, threshold=st.one_of(st.none(), st.floats(0.1, 3)))
def test_a_tie_does_not_know_which_response_stands_first(a: float, b: float, threshold: float | None) -> None:
    forth, back = (pair_loss(*s, 2.0, True, tie_threshold=threshold) for s in ((a, b), (b, a)))
    assert forth == pytest.approx(back, rel=1e-12)


@given(a=differences, b=differences)
def test_smoothing_by_one_half_forgets_the_verdict(a: float, b: float) -> None:
    assert pair_loss(a, b, label_smoothing=0.5) == pytest.approx(pair_loss(a, b, tie=True), rel=1e-12)


BASE_PAIR: dict[str, Any] = {
    "chosen_B": vector(0.4),
    "rejected_B": vector(-0.2),
    "margin_B": vector(0.1),
    "tie_B": DECIDED,
    "label_smoothing": 0.1,
    "centering": 0.1,
    "tie_threshold": 0.5,
}
BASE_SAFETY: dict[str, Any] = {
    "scores_B": vector(0.4),
    "safe_B": vector(1.0),
    "safe_weight": 1.5,
    "unsafe_weight": 0.5,
    "prior_shift": 0.2,
    "label_smoothing": 0.1,
}


@pytest.mark.parametrize(
    ("loss", "base", "name", "value"),
    [
        (bradley_terry, BASE_PAIR, "chosen_B", vector(0.5)),
        (bradley_terry, BASE_PAIR, "rejected_B", vector(-0.3)),
        (bradley_terry, BASE_PAIR, "margin_B", vector(0.2)),
        (bradley_terry, BASE_PAIR, "tie_B", TIE),
        (bradley_terry, BASE_PAIR, "label_smoothing", 0.2),
        (bradley_terry, BASE_PAIR, "centering", 0.2),
        (bradley_terry, BASE_PAIR, "tie_threshold", 0.6),
        (bradley_terry, BASE_PAIR | {"tie_B": TIE}, "tie_threshold", 0.6),
        (safety_bce, BASE_SAFETY, "scores_B", vector(0.5)),
        (safety_bce, BASE_SAFETY, "safe_B", vector(0.0)),
        (safety_bce, BASE_SAFETY, "safe_weight", 1.6),
        (safety_bce, BASE_SAFETY, "unsafe_weight", 0.6),
        (safety_bce, BASE_SAFETY, "prior_shift", 0.3),
        (safety_bce, BASE_SAFETY, "label_smoothing", 0.2),
    ],
)
def test_every_argument_moves_the_loss(
    loss: Callable[..., torch.Tensor], base: dict[str, Any], name: str, value: Any
) -> None:
    assert abs((loss(**base | {name: value}) - loss(**base)).item()) > 1e-3


def test_safety_bce_is_torchs_binary_cross_entropy_where_torch_has_the_option() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(16, generator=generator)
    safe = (torch.rand(16, generator=generator) < 0.5).float()
    reference = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, safe, pos_weight=torch.tensor(2.0), reduction="none"
    )
    torch.testing.assert_close(safety_bce(scores, safe, safe_weight=2.0), reference)


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, {"tie_threshold": 0.5}, {"tie_threshold": 1e-4, "centering": 1e-3}]
)
def test_gradients_stay_finite_and_point_the_right_way_at_huge_differences(tie: bool, options: dict[str, Any]) -> None:
    for huge in (1e4, -1e4):
        chosen = torch.tensor([huge], requires_grad=True)
        loss = bradley_terry(chosen, torch.zeros(1), torch.ones(1), torch.tensor([tie]), **options)
        (gradient,) = torch.autograd.grad(loss.sum(), chosen)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()
        wants_lower = tie or options.get("label_smoothing") or options.get("centering")
        assert gradient.item() >= 0 if huge > 0 and wants_lower else gradient.item() <= 0
        if huge < 0 or wants_lower:
            assert abs(gradient.item()) > 0.05


@pytest.mark.parametrize("safe", [0.0, 1.0])
def test_safety_gradients_stay_finite_at_huge_scores(safe: float) -> None:
    scores = torch.tensor([1e4, -1e4], requires_grad=True)
    safety_bce(scores, torch.full((2,), safe)).sum().backward()
    expected = torch.sigmoid(scores.detach()) - safe
    torch.testing.assert_close(scores.grad, expected)


def test_the_tie_probability_does_not_cancel_where_both_sigmoids_round_to_one() -> None:
    # −log(σ(d + η) − σ(d − η)) → d − log(2 sinh η) for large d; the plain difference would be 0 and its log infinite
    loss = bradley_terry(torch.tensor([500.0]), torch.zeros(1), None, TIE, tie_threshold=0.5)
    assert loss.item() == pytest.approx(500 - math.log(2 * math.sinh(0.5)), rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"tie_threshold": 0.5}, {"label_smoothing": 0.1, "centering": 0.2}])
def test_gradients_are_those_of_finite_differences(options: dict[str, Any]) -> None:
    scores = vector(0.3, -1.0, 2.0).requires_grad_(), vector(0.1, 0.4, -2.0).requires_grad_()
    tie = torch.tensor([True, False, True])
    assert torch.autograd.gradcheck(lambda c, r: bradley_terry(c, r, vector(0.1, 0.2, 0.3), tie, **options), scores)


@pytest.mark.parametrize(
    ("arguments", "shapes"),
    [
        ((torch.zeros(2, 1), torch.zeros(2, 1)), r"\(2, 1\)"),
        ((torch.zeros(2), torch.zeros(3)), r"'chosen_B': \(2,\), 'rejected_B': \(3,\)"),
        ((torch.zeros(2), torch.zeros(2), torch.zeros(1)), r"'margin_B': \(1,\)"),
        ((torch.zeros(2), torch.zeros(2), None, torch.zeros(2, 1, dtype=torch.bool)), r"'tie_B': \(2, 1\)"),
        ((torch.tensor(0.0), torch.tensor(0.0)), r"\(\)"),
    ],
)
def test_shapes_that_would_broadcast_are_refused(arguments: tuple[torch.Tensor, ...], shapes: str) -> None:
    with pytest.raises(ValueError, match=shapes):
        bradley_terry(*arguments)


def test_safety_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'scores_B': \(2, 1\), 'safe_B': \(2,\)"):
        safety_bce(torch.zeros(2, 1), torch.zeros(2))


# A world of one feature: P(feature | safe) = 0.8 and P(feature | unsafe) = 0.3. Two thirds of the data are safe.
SAFE_COUNTS, UNSAFE_COUNTS = (800, 200), (150, 350)
FEATURE = np.repeat([0, 1, 0, 1], SAFE_COUNTS + UNSAFE_COUNTS)
IS_SAFE = np.repeat([1.0, 0.0], (sum(SAFE_COUNTS), sum(UNSAFE_COUNTS)))


def minimiser(loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The score of either value of the feature that makes ``loss`` (of one score per response) smallest."""
    scores = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [scores], max_iter=100, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        mean = loss(scores[FEATURE]).mean()
        mean.backward()
        return mean

    optimizer.step(closure)
    return scores.detach()


def posterior_log_odds(safe_share: float) -> torch.Tensor:
    """Bayes: log-odds of "safe" for either value of the feature where that share of responses is safe."""
    prior = math.log(safe_share / (1 - safe_share))
    return torch.tensor([math.log(0.8 / 0.3) + prior, math.log(0.2 / 0.7) + prior], dtype=torch.float64)


def test_without_options_the_minimiser_is_calibrated_for_the_training_data() -> None:
    scores = minimiser(lambda s: safety_bce(s, torch.from_numpy(IS_SAFE)))
    torch.testing.assert_close(scores, posterior_log_odds(2 / 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("deployed", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_configured_loss_is_calibrated_for_the_deployed_share(deployed: float, class_weights: Any) -> None:
    objective = safety_objective(LossConfig(deployed_safe_share=deployed, class_weights=class_weights))
    scores = minimiser(lambda s: objective(s, list(range(len(s))), Metrics(["loss", "score_mean", "accuracy"])))
    torch.testing.assert_close(scores, posterior_log_odds(deployed), atol=1e-5, rtol=0)


def test_balanced_weights_are_calibrated_for_as_many_safe_as_unsafe_responses() -> None:
    objective = safety_objective(LossConfig(class_weights="balanced"))
    scores = minimiser(lambda s: objective(s, list(range(len(s))), Metrics(["loss", "score_mean", "accuracy"])))
    torch.testing.assert_close(scores, posterior_log_odds(0.5), atol=1e-5, rtol=0)


NO_WEIGHTS = np.zeros(0)


def safety_objective(loss: LossConfig) -> Objective:
    config = RewardModelConfig(task="safety", model=ModelConfig(config={"model_type": "qwen3"}), loss=loss)
    return Objective(config, labelled(IS_SAFE, np.full(len(IS_SAFE), np.nan)), torch.device("cpu"))


def labelled(label: np.ndarray, strength: np.ndarray, weight: np.ndarray = NO_WEIGHTS) -> TokenizedSet:
    count = len(label)
    writer = TokenWriter()
    arrays = {"tokens": np.zeros(0, np.int32), "lengths": np.zeros((count, 3), np.int32)}
    arrays["ratings"] = np.zeros((count, 0))
    texts = {"sources": ("",) * count, "ids": ("",) * count}
    writer.add(TokenBatch(label=label, strength=strength, weight=weight, truncated=0, dropped={}, **arrays, **texts))
    return writer.close()[1]


def test_the_configured_pairwise_loss_uses_label_strength_and_every_option() -> None:
    data = labelled(np.array([1.0, 0.5, 1.0]), np.array([2.0, np.nan, np.nan]))
    loss = LossConfig(margin=0.5, tie_threshold=LN2, centering=0.1, label_smoothing=0.1)
    config = RewardModelConfig(model=ModelConfig(config={"model_type": "qwen3"}), loss=loss)
    objective, metrics = Objective(config, data, torch.device("cpu")), Metrics(["loss", "score_mean", "accuracy"])
    scores = torch.tensor([1.0, 0.2, 0.3, 0.4, -1.0, 0.5])
    options = {"label_smoothing": 0.1, "centering": 0.1, "tie_threshold": LN2}
    expected = [
        pair_loss(1.0, 0.2, margin=1.0, **options),  # strength 2 × 0.5
        pair_loss(0.3, 0.4, tie=True, **options),
        pair_loss(-1.0, 0.5, **options),  # no strength, no margin
    ]
    torch.testing.assert_close(objective(scores, [0, 1, 2], metrics), torch.tensor(expected))


def test_a_pair_counts_by_its_weight_against_the_mean_of_all() -> None:
    """Weights 3, 1, 2 are 1.5, 0.5 and 1 of their mean; equal weights change nothing."""
    label, strength = np.array([1.0, 0.5, 1.0]), np.full(3, np.nan)
    scores = torch.tensor([1.0, 0.2, 0.3, 0.4, -1.0, 0.5])

    def losses(weight: np.ndarray = NO_WEIGHTS) -> torch.Tensor:
        config = RewardModelConfig(model=ModelConfig(config={"model_type": "qwen3"}))
        objective = Objective(config, labelled(label, strength, weight), torch.device("cpu"))
        return objective(scores, [0, 1, 2], Metrics(["loss", "score_mean", "accuracy"]))

    plain = losses()
    torch.testing.assert_close(losses(np.array([3.0, 1.0, 2.0])), plain * torch.tensor([1.5, 0.5, 1.0]))
    torch.testing.assert_close(losses(np.full(3, 0.25)), plain)


def test_loss_equals_trls_reward_trainer_on_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    from reward_models.data.chat import train_tokenizer

    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):  # another test's job of one process is not this trainer's
        monkeypatch.delenv(name, raising=False)
    tokenizer = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, 320)
    rows = [
        ("Say fox.", "fox", "the lazy dog", 0.5),
        ("Count.", "one two three", "no", 1.25),
        ("Jump!", "over", "I", 0),
    ]
    dataset = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": prompt}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
                "margin": float(margin),
            }
            for prompt, chosen, rejected, margin in rows
        ]
    )
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen3",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        num_labels=1,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    arguments = RewardConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=len(rows),
        center_rewards_coefficient=0.05,
        use_cpu=True,
        bf16=False,
        report_to=[],
    )
    trainer = RewardTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer)
    inputs = next(iter(trainer.get_train_dataloader()))
    theirs = trainer.compute_loss(model, inputs)
    theirs.backward()
    their_gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    ours = AutoModelForSequenceClassification.from_config(config, attn_implementation=TREE_ATTENTION)
    ours.load_state_dict(model.state_dict())
    scorer = SequenceScorer(ours, "tree")
    ids, mask = inputs["input_ids"].numpy().astype(np.int32), inputs["attention_mask"].bool().numpy()
    sequences = [row[keep] for row, keep in zip(ids, mask, strict=True)]  # TRL stacks all chosen above all rejected
    trees = [PromptTree.from_sequences(pair) for pair in zip(sequences[:3], sequences[3:], strict=True)]
    chosen_B, rejected_B = scorer(scorer.collate(trees)).view(-1, 2).unbind(1)
    loss = bradley_terry(chosen_B, rejected_B, inputs["margin"], centering=0.05).mean()
    loss.backward()

    torch.testing.assert_close(loss, theirs, rtol=1e-6, atol=1e-6)
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert gradients.keys() == their_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, their_gradients[name], rtol=1e-4, atol=1e-6, msg=name)
