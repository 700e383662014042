"""Input of fine-tuning: rows, rendering, the tokens that are learnt, and that sampling continues the same ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from align.policy.templates import TEMPLATES, template_text
from align.sft.demonstrations import DemonstrationsConfig, load_conversations
from align.sft.encoding import encode
from reward_models.data.chat import prompt_text, tokenize_texts, train_tokenizer
from reward_models.data.formats import to_demonstration
from reward_models.data.records import Message, RecordError

REPLY = "<think>1 + 2 is 3.</think><answer>3</answer>"


@pytest.fixture(params=TEMPLATES)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    built = train_tokenizer(["What is 1 + 2?", "1 + 2 is 3.", "user\nassistant\n"], 320)
    built.chat_template = template_text(request.param)
    return built


def conversation(*contents: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple(Message(roles[i % 2], content) for i, content in enumerate(contents))  # type: ignore[arg-type]


def test_what_is_learnt_is_what_would_be_sampled_after_the_prompt(tokenizer: Any) -> None:
    turns = conversation("What is 1 + 2?", REPLY)
    data = encode([turns], tokenizer, 1000)
    ids, learnt = data.ids(0), data.learnt(0)
    prompt = tokenize_texts(tokenizer, [prompt_text(tokenizer, turns[:1])])[0]
    assert ids[: len(prompt)].tolist() == prompt.tolist()
    assert not learnt[: len(prompt)].any()
    text = tokenizer.decode(ids[learnt])
    assert text.endswith(tokenizer.eos_token)
    prefilled = tokenizer.decode(prompt).rstrip().endswith("<think>")
    assert text.removesuffix(tokenizer.eos_token).strip() == REPLY.removeprefix("<think>" if prefilled else "")
    # The learnt stretch is one piece: nothing between the prompt's end and the end token is left out.
    places = np.flatnonzero(learnt)
    assert places.tolist() == list(range(len(prompt), len(prompt) + len(places)))


def test_every_reply_of_a_conversation_is_learnt_and_keeps_its_thoughts(tokenizer: Any) -> None:
    data = encode(
        [conversation("What is 1 + 2?", REPLY, "And 2 + 2?", "<think>4.</think><answer>4</answer>")], tokenizer, 1000
    )
    text = tokenizer.decode(data.ids(0)[data.learnt(0)])
    assert text.count(tokenizer.eos_token) == 2
    assert "1 + 2 is 3." in text
    assert "And" not in text


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("gemma", "<end_of_turn>"),
        ("gemma3", "<end_of_turn>"),
        ("llama3", "<|eot_id|>"),
        ("llama3_2", "<|eot_id|>"),
        ("phi3", "<|end|>"),
        ("qwen2_5", "<|im_end|>"),
        ("qwen3", "<|im_end|>"),
        ("cohere", "<|END_OF_TURN_TOKEN|>"),
    ],
)
@pytest.mark.parametrize("named_by", ["tokenizer", "generation settings"])
def test_replies_in_the_templates_of_released_models(name: str, end: str, named_by: str) -> None:
    import trl

    tokenizer = train_tokenizer(["What is 1 + 2?"], 320)
    tokenizer.add_special_tokens({"bos_token": "<s>", "additional_special_tokens": [end]})
    tokenizer.eos_token = end if named_by == "tokenizer" else "<|other|>"
    file = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
    tokenizer.chat_template = file.read_text(encoding="utf-8")
    turns = conversation("What is 1 + 2?", "It is 3.", "And 2 + 2?", "It is 4.")
    data = encode([turns], tokenizer, 1000, [tokenizer.convert_tokens_to_ids(end)])
    learnt = tokenizer.decode(data.ids(0)[data.learnt(0)]).replace("<think>\n\n</think>\n\n", "")
    # Qwen 3 shows the first reply otherwise than it was written, without its (empty) thoughts: it is not learnt.
    assert learnt == (f"It is 4.{end}" if name == "qwen3" else f"It is 3.{end}It is 4.{end}")


def test_a_template_whose_turns_do_not_end_with_an_end_token_is_refused() -> None:
    tokenizer = train_tokenizer(["What is 1 + 2?"], 320)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + (
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(ValueError, match="replies would never end"):
        encode([conversation("What is 1 + 2?", "3", "And 2 + 2?", "4")], tokenizer, 1000)


def test_what_is_too_long_is_left_out_and_counted(tokenizer: Any) -> None:
    short, long = conversation("What is 1 + 2?", REPLY), conversation("What is 1 + 2?" * 200, REPLY)
    data = encode([short, long], tokenizer, 600)
    assert (len(data), data.dropped) == (1, {"longer than 600 tokens": 1})
    with pytest.raises(ValueError, match="no demonstration is left of 1"):
        encode([long], tokenizer, 600)


def test_a_reply_that_the_prefilled_prompt_does_not_lead_to_is_left_out() -> None:
    tokenizer = train_tokenizer(["What is 1 + 2?"], 320)
    tokenizer.chat_template = template_text("r1")
    data = encode([conversation("a", REPLY), conversation("a", "3, without thoughts")], tokenizer, 1000)
    assert len(data) == 1
    assert list(data.dropped.values()) == [1]
    with pytest.raises(
        ValueError, match=r"of 1: the reply .* ends it 1\. A prompt ends with '.*<think>.*a reply must go"
    ):
        encode([conversation("a", "3, without thoughts")], tokenizer, 1000)


@pytest.mark.parametrize(
    ("row", "reply"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": REPLY}]}, REPLY),
        ({"prompt": "q", "response": REPLY}, REPLY),
        (
            {"prompt": "q", "solution": "2 <<1+1=2>>and 1.\n#### 3", "answer": "3"},
            "<think>2 and 1.</think><answer>3</answer>",
        ),
        ({"question": "q", "answer": "2 and 1.\n#### 3"}, "<think>2 and 1.</think><answer>3</answer>"),
    ],
)
def test_the_layouts_of_demonstrations(row: dict[str, Any], reply: str) -> None:
    prompt, response = to_demonstration(row)
    turns = prompt + response
    assert [m.role for m in turns] == ["user", "assistant"]
    assert turns[-1].content == reply


@pytest.mark.parametrize(
    "row", [{"prompt": "q"}, {"prompt": "q", "answer": "3"}, {"prompt": "q", "chosen": "a", "rejected": "b"}]
)
def test_a_row_without_a_reply_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        to_demonstration(row)


def test_a_template_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="r2 is neither a file nor one of r1, r1_zero"):
        template_text("r2")


def test_built_in_and_real_demonstrations_are_read(keel_data: Any) -> None:
    built_in, bad = load_conversations(DemonstrationsConfig(train=["synthetic:demonstrations:test"], limit=40))
    assert (len(built_in), bad) == (40, 0)
    real, bad = load_conversations(DemonstrationsConfig(train=[str(keel_data / "math" / "gsm8k.train.jsonl.gz")]))
    assert (len(real), bad) == (7471, 0)
    assert all("<answer>" in turns[-1].content and "<<" not in turns[-1].content for turns in real)


def test_a_saved_tokenizer_renders_the_same(tokenizer: Any, tmp_path: Any) -> None:
    tokenizer.save_pretrained(tmp_path)
    turns = conversation("What is 1 + 2?", REPLY)
    again = encode([turns], AutoTokenizer.from_pretrained(tmp_path), 1000)
    assert again.fingerprint == encode([turns], tokenizer, 1000).fingerprint
