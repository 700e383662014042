"""Rendering of conversations to the text that the model reads."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import BertTokenizer, PreTrainedTokenizerFast

from reward_models.data.chat import (
    PLAIN_TEMPLATE,
    ChatRenderer,
    final_summary,
    fix_date,
    prompt_text,
    render,
    tokenize_texts,
    train_tokenizer,
)
from reward_models.data.records import Message

QUESTION = (Message("user", "2 + 2?"),)
ANSWER = (Message("assistant", "<think>two and two</think>\n\nIt is 4."),)
# DeepSeek-R1's distilled models drop what comes before </think>; so does this one.
DROPS_REASONING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] }}<|im_end|>{% endfor %}"
)


@pytest.fixture
def tokenizer() -> Any:
    return train_tokenizer(["2 + 2? It is 4.", "two and two", "user assistant system"], 400)


@pytest.fixture(scope="module")
def gpt2(keel_data: Path) -> Any:
    """GPT-2's own tokenizer: no template, no padding, one token for beginning and end."""
    mark = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_file=str(keel_data / "tokenizer" / "gpt2" / "tokenizer.json"), bos_token=mark, eos_token=mark
    )


def bert() -> Any:
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] user assistant system : 2 + ? it is 4 . < / think > two and be brief"
    return BertTokenizer(vocab={word: number for number, word in enumerate(words.split())})


# --- templates and tokenizers that give up ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% macro turn() %}{{ turn() }}{% endmacro %}{{ turn() }}", "recursion"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{{ messages | length // 0 }}", "zero"),
    ],
)
def test_a_template_that_cannot_be_computed_is_an_error_of_its_own(template: str, reason: str, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=f"chat template refuses a conversation of user: .*{reason}"):
        render(tokenizer, QUESTION, chat_template=template)


def test_a_tokenizer_that_tries_too_many_ways_to_read_a_text_is_an_error() -> None:
    """Its library stops the search by a panic, which is no Exception."""
    own = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    own.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own)
    assert [list(ids) for ids in tokenize_texts(tokenizer, ["a"])] == [[0]]
    with pytest.raises(ValueError, match=r"tokenizer gives up on one of 2 texts: .*retry-limit"):
        tokenize_texts(tokenizer, ["a", "a" * 40 + "b"])


# --- the summary ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("<think>a</think>b", "b"),
        ("<think>a</think>\n\n  b c \n", "b c"),
        ("a</think>b", "b"),  # the template wrote <think>
        ("<think>a</think>b</think>c", "c"),
        ("<think>a</think>", ""),
        ("<think>a</think>  \n", ""),
        ("<think>a, still thinking", ""),
        ("  <think>a, still thinking", ""),
        ("no reasoning, <think> is only mentioned", "no reasoning, <think> is only mentioned"),
        (" plain text \n", " plain text \n"),
        ("", ""),
    ],
)
def test_the_summary_is_what_follows_the_reasoning(text: str, summary: str) -> None:
    assert final_summary(text) == summary


def test_the_span_decides_what_of_the_response_is_read(tokenizer: Any) -> None:
    summary, full = (ChatRenderer(tokenizer, span).text(QUESTION, ANSWER) for span in ("summary", "full"))
    assert summary == "<|im_start|>user\n2 + 2?<|im_end|><|im_start|>assistant\nIt is 4.<|im_end|>"
    assert full == summary.replace("It is 4.", "<think>two and two</think>\n\nIt is 4.")


@pytest.mark.parametrize("reply", ["<think>2 + 2", "<think>2 + 2 = 4</think>"])
def test_a_response_without_a_summary_is_rendered_empty(reply: str, tokenizer: Any) -> None:
    text = ChatRenderer(tokenizer, "summary").text((Message("user", "2 + 2?"),), (Message("assistant", reply),))
    assert "2 + 2?" in text
    assert "<think>2 + 2" not in text


def test_the_span_cuts_the_response_and_neither_the_prompt_nor_other_roles(tokenizer: Any) -> None:
    renderer = ChatRenderer(tokenizer, "summary")
    prompt = (Message("user", "a</think>b"), *ANSWER, Message("user", "and <think>this?"))
    text = renderer.text(prompt, (Message("tool", "t</think>u"), Message("assistant", "v</think>w")))
    assert all(kept in text for kept in ("a</think>b", "two and two", "and <think>this?", "t</think>u"))
    assert text.endswith("assistant\nw<|im_end|>")


# --- templates --------------------------------------------------------------------------------------------------------


def test_a_template_that_drops_the_reasoning_is_refused_unless_only_the_summary_is_read(tokenizer: Any) -> None:
    tokenizer.chat_template = DROPS_REASONING
    with pytest.raises(ValueError, match=r"loses '<think>' of a response.*model\.chat_template=FILE.*data\.span"):
        ChatRenderer(tokenizer, "full")
    assert "two and two" not in ChatRenderer(tokenizer, "summary").text(QUESTION, ANSWER)


def test_a_template_that_drops_the_response_is_always_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
    with pytest.raises(ValueError, match=r"leaves out turn 1 \(user\)"):
        ChatRenderer(tokenizer, "summary")


def test_tokenizing_adds_no_special_token_to_those_of_the_template() -> None:
    raw = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "user": 3, "assistant": 4}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    renderer = ChatRenderer(tokenizer, "full")
    ids = renderer.tokenize([renderer.text(QUESTION, ANSWER)])[0].tolist()
    assert tokenizer("user")["input_ids"] == [0, 3, 1]  # the tokenizer alone would add them
    assert (ids.count(0), ids.count(1)) == (1, 1)
    assert (ids[0], ids[-1]) == (0, 1)


def test_the_plain_template_of_an_encoder() -> None:
    tokenizer = bert()
    renderer = ChatRenderer(tokenizer, "summary")
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    text = renderer.text((Message("system", "Be brief."), *QUESTION), ANSWER)
    assert text == "[CLS]system: Be brief.[SEP]user: 2 + 2?[SEP]assistant: It is 4.[SEP]"
    ids = renderer.tokenize([text])[0]
    assert tokenizer.convert_ids_to_tokens(ids)[:6] == ["[CLS]", "system", ":", "be", "brief", "."]
    assert (ids == tokenizer.unk_token_id).sum() == 0
    assert (ids == tokenizer.sep_token_id).sum() == 3


def test_the_plain_template_of_gpt2(gpt2: Any) -> None:
    renderer = ChatRenderer(gpt2, "summary")
    text = renderer.text((Message("system", "Be brief."), *QUESTION), ANSWER)
    mark = "<|endoftext|>"
    assert text == f"{mark}system: Be brief.\nuser: 2 + 2?\nassistant: It is 4.{mark}"
    ids = renderer.tokenize([text])[0].tolist()
    assert [place for place, token in enumerate(ids) if token == 50256] == [0, len(ids) - 1]
    assert gpt2.decode(ids) == text
    asked = gpt2.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert asked == f"{mark}user: Hi\nassistant: "


# --- the fingerprint --------------------------------------------------------------------------------------------------


def test_the_fingerprint_changes_with_span_template_and_tokenizer(tokenizer: Any) -> None:
    first = ChatRenderer(tokenizer, "full").fingerprint
    assert ChatRenderer(tokenizer, "full").fingerprint == first
    others = {ChatRenderer(tokenizer, "summary").fingerprint}
    others.add(ChatRenderer(train_tokenizer(["which probe this one reasoning summary"] * 9, 400), "full").fingerprint)
    tokenizer.chat_template += " "
    others.add(ChatRenderer(tokenizer, "full").fingerprint)
    assert len(others | {first}) == 4


def known_template(name: str) -> str:
    """A template of a released model, from the collection that TRL carries."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "template",
    [
        "llama3_2",
        "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}|{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}",
        '{% if strftime_now is defined %}{% set d = strftime_now("%d %b %Y") %}{% endif %}'
        "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}{{ d }}",
    ],
)
def test_a_template_with_a_date_renders_alike_on_every_day(
    template: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import chat_template_utils

    template = known_template(template) if template == "llama3_2" else template
    seen = []
    for day in (datetime(2024, 7, 26, 1, 2, 3), datetime(2031, 1, 2, 3, 4, 5)):
        monkeypatch.setattr(chat_template_utils, "datetime", type("Day", (), {"now": staticmethod(lambda d=day: d)}))
        tokenizer.chat_template = template
        asked = prompt_text(tokenizer, QUESTION)
        renderer = ChatRenderer(tokenizer, "full")
        turns = [{"role": m.role, "content": m.content} for m in (*QUESTION, *ANSWER)]
        elsewhere = tokenizer.apply_chat_template(turns, tokenize=False)  # by software that knows nothing of this
        assert elsewhere == renderer.text(QUESTION, ANSWER)
        seen.append((asked, elsewhere, renderer.fingerprint, ChatRenderer(tokenizer, "full").fingerprint))
    assert seen[0] == seen[1]
    assert seen[0][2] == seen[0][3]
    assert "2024" in seen[0][1]


def test_the_fixed_date_changes_nothing_else(tokenizer: Any) -> None:
    template = known_template("llama3_2")
    turns = [{"role": m.role, "content": m.content} for m in (*QUESTION, *ANSWER)]
    plain = tokenizer.apply_chat_template(turns, tokenize=False, chat_template=template)
    today = datetime.now().strftime("%d %b %Y")
    fixed = tokenizer.apply_chat_template(turns, tokenize=False, chat_template=fix_date(template))
    assert today in plain
    assert fixed == plain.replace(today, "26 Jul 2024")
    assert fix_date(fix_date(template)) == fix_date(template)
    assert fix_date(PLAIN_TEMPLATE) == PLAIN_TEMPLATE


@pytest.mark.parametrize("role", ["tool", "system"])
def test_a_turn_that_the_template_leaves_out_is_an_error(role: str, tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role != '" + role + "' %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}"
    )
    renderer = ChatRenderer(tokenizer, "full")
    renderer.text(QUESTION, ANSWER)
    conversation = (Message(role, "2 + 2?"), *QUESTION)  # its words occur elsewhere in the text
    for rendering in (lambda: renderer.text(conversation, ANSWER), lambda: prompt_text(tokenizer, conversation)):
        with pytest.raises(ValueError, match=rf"leaves out turn 1 \({role}\).*model\.chat_template=FILE"):
            rendering()


@pytest.mark.parametrize("name", ["gemma", "gemma3", "llama3", "llama3_2", "phi3", "qwen2_5", "qwen3", "cohere"])
def test_templates_of_released_models_render_a_conversation(name: str, tokenizer: Any) -> None:
    tokenizer.chat_template = known_template(name)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    assert "It is 4." in ChatRenderer(tokenizer, "summary").text(QUESTION, ANSWER)


# --- tokenizers of our own --------------------------------------------------------------------------------------------


def test_a_trained_tokenizer_reads_any_text_and_pads_with_a_token_of_its_own(tokenizer: Any) -> None:
    text = "Zürich: 12 + 30 = 42 ✓ <think>so</think><answer>42</answer>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text  # the tags are no special tokens
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert {"<think>", "</think>", "<answer>", "</answer>", "4", "2"} <= set(tokens)
    assert not {"42", "12", "30"} & set(tokens)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert len(tokenizer) <= 400


# --- fields of messages ---------------------------------------------------------------------------------------------

TOOLS = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}"
    "{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}{% endfor %}"
)
CALL = Message("assistant", "", '{"tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}]}')
THOUGHTFUL = Message("assistant", "Yes.", '{"reasoning_content": "it is"}')
ASK = (Message("user", "Well?"),)


def tokenizer_with(template: str) -> Any:
    tokenizer = train_tokenizer(["Well? Yes."], 300)
    tokenizer.chat_template = template
    return tokenizer


def test_tool_calls_and_reasoning_reach_the_template() -> None:
    renderer = ChatRenderer(tokenizer_with(TOOLS), "full")
    assert '"city": "Oslo"' in renderer.text(ASK, (CALL,))
    assert "<think>it is</think>" in renderer.text(ASK, (THOUGHTFUL,))
    earlier = (*ASK, THOUGHTFUL, *ASK)  # of earlier replies templates leave out the reasoning on purpose
    assert "it is" not in renderer.text(earlier, (Message("assistant", "Yes."),))


@pytest.mark.parametrize(("message", "name"), [(CALL, "tool_calls"), (THOUGHTFUL, "reasoning_content")])
def test_a_template_that_leaves_a_field_out_is_an_error(message: Message, name: str) -> None:
    renderer = ChatRenderer(tokenizer_with("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"), "full")
    with pytest.raises(ValueError, match=f"leaves out '{name}' of message 2"):
        renderer.text(ASK, (message,))
    with pytest.raises(ValueError, match=f"leaves out '{name}'"):
        render(renderer.tokenizer, (*ASK, message))


def test_the_summary_has_no_reasoning_in_whichever_place_it_stands() -> None:
    renderer = ChatRenderer(tokenizer_with(TOOLS), "summary")
    assert renderer.text(ASK, (THOUGHTFUL,)) == renderer.text(ASK, (Message("assistant", "<think>it is</think>Yes."),))
