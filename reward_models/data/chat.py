"""From a conversation to token ids: the only place that calls a chat template.

Training, evaluation, scoring and serving all render through :class:`ChatRenderer`, so a reward model always reads what
it was trained on. The fingerprint of the rendering is kept with the saved model.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jinja2 import TemplateError

from reward_models.data.records import Conversation, Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Span = Literal["summary", "full"]

# For tokenizers without a template of their own. Beginning and end marks are the tokenizer's, whichever it has.
PLAIN_TEMPLATE = (
    "{%- if bos_token is defined and bos_token %}{{ bos_token }}"
    "{%- elif cls_token is defined and cls_token %}{{ cls_token }}{% endif %}"
    "{%- for message in messages %}"
    "{{ message['role'] }}: {{ message['content'] }}"
    "{%- if sep_token is defined and sep_token %}{{ sep_token }}"
    "{%- elif message['role'] == 'assistant' and eos_token is defined and eos_token %}{{ eos_token }}"
    "{%- else %}{{ '\\n' }}{% endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)

THINK_END = "</think>"
# Templates that print today's date print this one (Llama 3.1's own default): a date would make every day another input.
TEMPLATE_DATE = datetime(2024, 7, 26)
_DATE_FORMAT = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
_DATE_MACRO = "{%- macro strftime_now(format) %}"
# Besides its own errors: a filter is given a missing field; a macro calls itself for ever; a range beyond the sandbox's
# 100,000, a division by zero; a text that does not fit into memory.
REFUSALS = (TemplateError, TypeError, RecursionError, ArithmeticError, MemoryError)
MAX_CHECKED = 4096
_checked: set[tuple[str, tuple[str, ...]]] = set()  # (template, roles) that were found to render every turn
_PROBE = (
    Message("user", "Which probe?\nThis one."),
    Message("assistant", "<think>reasoning probe</think>\n\nsummary probe"),
)


def final_summary(text: str) -> str:
    """The text after the reasoning. Without ``</think>`` all is summary; an unfinished or empty one gives ``""``."""
    _, end, after = text.rpartition(THINK_END)
    if end:
        return after.strip()
    return "" if text.lstrip().startswith("<think>") else text


class ChatRenderer:
    """Renders and tokenizes conversations for one tokenizer and scoring span.

    Args:
        tokenizer: its chat template is used; one without a template is given :data:`PLAIN_TEMPLATE`.
        span: ``"full"`` reads the whole response, ``"summary"`` only what follows the reasoning (arXiv:2501.12948,
            section 2.3.4). The cut is made here, before the template, because templates disagree: some drop the
            reasoning and some keep it.

    Raises:
        ValueError: the span is ``full`` and the template drops or rewrites the reasoning.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, span: Span) -> None:
        # The date is fixed in the template that is saved with the model, so other software renders the same.
        tokenizer.chat_template = fix_date(_as_text(tokenizer.chat_template or PLAIN_TEMPLATE))
        self.tokenizer = tokenizer
        self.span = span
        probe = self.text(_PROBE[:1], _PROBE[1:])
        wanted = ["summary probe"] if span == "summary" else ["<think>", "reasoning probe", THINK_END, "summary probe"]
        missing = [text for text in wanted if text not in probe]
        if missing:
            raise ValueError(
                f"the tokenizer's chat template loses {missing[0]!r} of a response, and the scoring span is {span!r}. "
                "Give a template that keeps the reasoning (model.chat_template=FILE), or score data.span=summary"
            )

    @property
    def fingerprint(self) -> str:
        """Changes whenever template, tokenizer or span would make the model read something else."""
        ids = self.tokenize([self.text(_PROBE[:1], _PROBE[1:])])[0]
        content = json.dumps([self.tokenizer.chat_template, self.span, [int(i) for i in ids]])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def text(self, prompt: Conversation, response: Conversation) -> str:
        """The rendered conversation, special tokens written out. ``ValueError`` if the template does not take it."""
        reply = [self._cut(m.to_dict()) for m in response]
        return _render(self.tokenizer, [*(m.to_dict() for m in prompt), *reply])

    def _cut(self, message: dict[str, Any]) -> dict[str, Any]:
        """The part of a response's message that the span reads; of unfinished reasoning nothing is left."""
        if self.span == "full" or message["role"] != "assistant":
            return message
        kept = {name: value for name, value in message.items() if name != "reasoning_content"}
        return kept | {"content": final_summary(message["content"])}

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        return tokenize_texts(self.tokenizer, texts)


def prompt_text(tokenizer: PreTrainedTokenizerBase, prompt: Conversation) -> str:
    """The rendered prompt up to where the assistant's answer begins, with the text that the template puts there.

    A template may end it with ``<think>``: then the answer starts inside the thoughts. ``ValueError`` if the template
    does not take the conversation.
    """
    return render(tokenizer, prompt, add_generation_prompt=True)


def render(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, **options: Any) -> Any:
    """The conversation in the tokenizer's chat template, or in :data:`PLAIN_TEMPLATE` if it has none.

    Args:
        options: passed to ``apply_chat_template``, which returns text unless they say otherwise.

    Raises:
        ValueError: the template refuses the conversation, or leaves out a turn, a tool call or the reasoning.
    """
    return _render(tokenizer, [m.to_dict() for m in conversation], **options)


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], **options: Any) -> Any:
    template = options.pop("chat_template", None) or tokenizer.chat_template or PLAIN_TEMPLATE
    options = {"tokenize": False, "chat_template": fix_date(_as_text(template)), **options}
    roles = tuple(m["role"] for m in messages)
    try:
        _check_turns(tokenizer, options["chat_template"], roles)
        _check_fields(tokenizer, options["chat_template"], messages)
        return tokenizer.apply_chat_template(messages, **options)
    except REFUSALS as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"the chat template refuses a conversation of {', '.join(roles)}: {reason}") from error


def _check_turns(tokenizer: PreTrainedTokenizerBase, template: str, roles: tuple[str, ...]) -> None:
    """``ValueError`` if the template leaves out a turn of a conversation of these roles, as some do with tool turns."""
    if (template, roles) in _checked:
        return
    marks = [f"turn{number}probe" for number in range(len(roles))]
    messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template))
    for number, (role, mark) in enumerate(zip(roles, marks, strict=True), 1):
        if mark not in text:
            raise ValueError(
                f"the chat template leaves out turn {number} ({role}) of a conversation of {', '.join(roles)}. Give a "
                "template that renders it (model.chat_template=FILE), or take such conversations out"
            )
    if len(_checked) >= MAX_CHECKED:
        _checked.clear()
    _checked.add((template, roles))


def _check_fields(tokenizer: PreTrainedTokenizerBase, template: str, messages: list[dict[str, Any]]) -> None:
    """``ValueError`` if the template leaves out tool calls, or the reasoning of the last reply.

    Of earlier replies templates leave out the reasoning on purpose. Names and ids only link messages.
    """
    last_user = max((place for place, m in enumerate(messages) if m["role"] == "user"), default=-1)
    for place, message in enumerate(messages):
        for name in ("tool_calls", "reasoning_content"):
            if name not in message or (name == "reasoning_content" and place < last_user):
                continue
            without = [*messages[:place], {k: v for k, v in message.items() if k != name}, *messages[place + 1 :]]
            texts = [
                tokenizer.apply_chat_template(each, tokenize=False, chat_template=template)
                for each in (messages, without)
            ]
            if texts[0] == texts[1]:
                raise ValueError(
                    f"the chat template leaves out {name!r} of message {place + 1}. Give a template that renders it "
                    "(model.chat_template=FILE), write it into the content, or take such conversations out"
                )


def fix_date(template: str) -> str:
    """A template in which ``strftime_now`` gives :data:`TEMPLATE_DATE`; templates without it are unchanged.

    transformers' function of that name gives today's date. A macro of the same name hides it, so the template renders
    alike on every day and in other software too.
    """
    if "strftime_now" not in template or template.startswith(_DATE_MACRO):
        return template
    formats = sorted({found[1] for found in _DATE_FORMAT.findall(template)})
    cases = "".join(
        f"{{%- {'elif' if number else 'if'} format == {json.dumps(form)} %}}{TEMPLATE_DATE.strftime(form)}"
        for number, form in enumerate(formats)
    )
    other = TEMPLATE_DATE.strftime("%d %b %Y")  # of a format that the template computes
    body = f"{cases}{{%- else %}}{other}{{%- endif %}}" if formats else other
    return f"{_DATE_MACRO}{body}{{%- endmacro %}}\n{template}"


def _as_text(template: Any) -> str:
    """A tokenizer may hold several templates by name; the one called ``default`` is meant."""
    return template["default"] if isinstance(template, dict) else template


def tokenize_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids of rendered texts, int32. The template has written every special token: none is added here.

    Raises:
        ValueError: the tokenizer gives up on a text, as one does whose patterns try too many ways to read it.
    """
    try:
        encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust; it is no Exception, and has no module to import it from
            raise
        reason = " ".join(str(error).split())
        raise ValueError(f"the tokenizer gives up on one of {len(texts)} texts: {reason}") from error
    return [np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"]]


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """24 digits for everything that a tokenizer does but its chat template: a hash of the files that it is saved to."""
    state = hashlib.sha256(type(tokenizer).__name__.encode())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file() and not file.name.startswith("chat_template"):
                state.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return state.hexdigest()[:24]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """A small byte-level BPE tokenizer with a ChatML template, for models built from a config.

    Digits stand alone, so numbers are read place by place; the tags of reasoning and answer are single tokens, but not
    special ones, so they survive decoding.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 4,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", THINK_END, "<answer>", "</answer>")])
    return trained_tokenizer(tokenizer)


def trained_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    """The tokenizer of transformers around the one that :func:`train_tokenizer` has trained."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>")
    fast.chat_template = (
        "{%- for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>"
        "{%- endfor %}{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return fast
