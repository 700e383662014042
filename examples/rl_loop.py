"""Reinforcement learning of a language model in one file: GRPO (arXiv:2402.03300) in plain torch and transformers.

    python examples/rl_loop.py MODEL        # a small chat model: a directory, or a name on the hub

Each step samples a group of responses to some prompts, rewards every response by a rule, compares it with the others of
its group, and makes the better ones likelier. ``keel train align`` computes the same, faster and for large models; the
names of its functions are those of the comments below. A test holds the two equal.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass(frozen=True)
class Settings:
    """The settings of the loop, by their names in ``keel config align``."""

    steps: int = 20
    prompts_per_step: int = 4
    samples_per_prompt: int = 4
    max_new_tokens: int = 32
    lr: float = 1e-4
    beta: float = 0.05  # weight of the KL divergence from the model at the beginning
    clip: float = 10.0
    grad_clip: float = 1.0
    seed: int = 0


def reward_of(text: str) -> float:
    """The rule: the share of characters that are letters of the first half of the alphabet."""
    return sum("a" <= c <= "m" for c in text) / max(1, len(text))


def train(model: Any, tokenizer: Any, prompts: list[str], settings: Settings) -> list[dict[str, float]]:
    """Train ``model`` in place; returns the metrics of each step."""
    reference = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, betas=(0.9, 0.95), weight_decay=0.0)
    order = np.random.default_rng([settings.seed, 0]).permutation(len(prompts))
    log = []
    for step in range(settings.steps):
        # sample: a group of responses to each prompt; every response has random numbers of its own
        chosen = order[np.arange(step * settings.prompts_per_step, (step + 1) * settings.prompts_per_step) % len(order)]
        asked = [prompt_ids(tokenizer, prompts[i]) for i in chosen for _ in range(settings.samples_per_prompt)]
        seeds = np.random.SeedSequence([settings.seed, step, 0, 0]).generate_state(len(asked), np.uint64)
        responses = [
            sample(model.eval(), ids, int(seed), tokenizer, settings) for ids, seed in zip(asked, seeds, strict=True)
        ]

        # score: one reward per response
        texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
        rewards_PG = torch.tensor([reward_of(text) for text in texts]).view(-1, settings.samples_per_prompt)

        # advantages: better or worse than the other responses to the same prompt, in standard deviations
        mean_P1, std_P1 = rewards_PG.mean(1, keepdim=True), rewards_PG.std(1, keepdim=True)
        advantages_N = ((rewards_PG - mean_P1) / (std_P1 + 1e-4)).flatten()

        # update: raise the log-probability of what was better, lower that of what was worse
        model.train()
        loss_sum = kl_sum = 0.0
        for ids, response, advantage in zip(asked, responses, advantages_N, strict=True):
            logprobs_T = token_logprobs(model, ids, response)
            with torch.no_grad():
                reference_T = token_logprobs(reference, ids, response)
            old_T = logprobs_T.detach()  # the policy has not moved since it sampled
            ratio_T = (logprobs_T - old_T).exp()
            clipped_T = ratio_T.clamp(1 - settings.clip, 1 + settings.clip)
            policy_T = -torch.minimum(ratio_T * advantage, clipped_T * advantage)
            kl_T = (reference_T - logprobs_T).exp() - (reference_T - logprobs_T) - 1  # the estimator k3
            loss = (policy_T + settings.beta * kl_T).mean() / len(responses)  # mean of tokens, mean of responses
            loss.backward()
            loss_sum, kl_sum = loss_sum + loss.item(), kl_sum + kl_T.detach().sum().item()
        grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip).item()
        optimizer.step()
        optimizer.zero_grad()
        kl = kl_sum / sum(len(response) for response in responses)
        log.append({"reward": rewards_PG.mean().item(), "loss": loss_sum, "kl": kl, "grad_norm": grad_norm})
        print(f"step {step + 1}: " + ", ".join(f"{name} {value:.4g}" for name, value in log[-1].items()))
    return log


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of the prompt in the model's chat template, up to where the answer begins."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def sample(model: Any, prompt: list[int], seed: int, tokenizer: Any, settings: Settings) -> list[int]:
    """One response, token by token, up to the end token or the length limit."""
    random, response, inputs, cache = np.random.Generator(np.random.Philox(key=seed)), [], prompt, None
    while len(response) < settings.max_new_tokens and (not response or response[-1] != tokenizer.eos_token_id):
        output = model(input_ids=torch.tensor([inputs]), past_key_values=cache, use_cache=True)
        mass_V = output.logits[0, -1].float().softmax(0).cumsum(0)  # the token at which it passes a random number
        token = int(torch.searchsorted(mass_V, random.random() * mass_V[-1], right=True))
        response.append(min(token, len(mass_V) - 1))
        inputs, cache = response[-1:], output.past_key_values
    return response


def token_logprobs(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    """Log-probabilities of the response's tokens, shape ``[T]``."""
    logits_TV = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].float()
    return logits_TV.log_softmax(1).gather(1, torch.tensor(response)[:, None])[:, 0]


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) == 2 else sys.exit("usage: python examples/rl_loop.py MODEL")
    questions = [f"Write one sentence about {thing}." for thing in ("the sea", "bread", "trains", "a garden")]
    train(AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name), questions, Settings())
