"""Hostile text stays text; everything a reward model reads stays visible."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from annotation_ui.web.rendering import MARKDOWN_LIMIT, code_styles, difference, markdown, raw, response

ALLOWED = (
    " p br hr em strong s code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td span details "
    "summary math mrow mi mo mn mfrac msup msub msqrt mtext mstyle mspace munderover mover munder msubsup mtable "
    "mtr mtd mroot div section mpadded menclose mphantom "
)
ATTRIBUTES = (
    " class open start style xmlns display stretchy fence form separator linethickness mathvariant minsize maxsize "
    "width columnalign rowlines columnlines accent movablelimits lspace rspace "
)

PAYLOADS: list[str] = json.loads((Path(__file__).parent / "payloads.json").read_text())


class Inert(HTMLParser):
    """Fails on every element or attribute that could do something."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert f" {tag} " in ALLOWED, tag
        for name, value in attributes:
            assert f" {name} " in ATTRIBUTES, name
            if name == "style":
                assert value in ("text-align:left", "text-align:right", "text-align:center"), value
            if name == "class":
                assert tag == "code" or tag == "span" or (value or "").startswith("k-")
                assert all(word.startswith(("c-", "k-", "language-")) for word in (value or "").split()), value

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")


def visible(html: str) -> str:
    parser = Inert()
    parser.feed(html)
    parser.close()
    return " ".join(parser.text.split())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_nothing_but_text(payload: str) -> None:
    for html in (markdown(payload), response(payload, open_reasoning=True), raw(payload)):
        visible(html)
    for html in difference(payload, payload[::-1]) or ():
        assert "<script" not in html
        assert "<img" not in html


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<answer>42</answer>", "<answer>42</answer>"),
        ("a List<String> of Map<K, V>", "a List<String> of Map<K, V>"),
        ("costs $5 and then $10", "costs $5 and then $10"),
        ("from $5.50 to $6", "from $5.50 to $6"),
        ("1 < 2 && 3 > 2", "1 < 2 && 3 > 2"),
        ("[docs](https://example.org/a?b=1)", "docs (https://example.org/a?b=1)"),
        ("~~old~~ **new**", "old new"),
        ("![alt](x.png)", "!alt (x.png)"),
    ],
)
def test_nothing_is_swallowed(text: str, seen: str) -> None:
    assert visible(markdown(text)) == seen


def test_reasoning_can_be_folded_but_its_tag_is_read() -> None:
    html = response("<think>\nfirst **this**\n</think>\n\nThe answer", open_reasoning=False)
    assert visible(html) == "<think> reasoning, 2 words first this The answer"
    assert "<details class=k-think>" in html
    assert "<details class=k-think open>" in response("<think>x</think>y", open_reasoning=True)
    assert "never closed" in response("<think>endless", open_reasoning=False)


def test_mathematics_code_and_tables() -> None:
    for text in (r"$\frac{a}{b}$", r"\(\frac{a}{b}\)", r"\[\frac{a}{b}\]", "$$\\frac{a}{b}$$"):
        assert "<mfrac>" in markdown(text), text
    assert visible(markdown(r"$\undefined{<b>}$")) == r"\undefined<b>"
    assert '<span class="c-k">def</span>' in markdown("```python\ndef f(): pass\n```")
    assert "<td>2</td>" in markdown("| a | b |\n|---|---|\n| 1 | 2 |")
    assert ".dark .k-text" in code_styles()


def test_a_difference_marks_the_words_only_one_side_has() -> None:
    assert difference("the old cat", "the new cat") == (
        "<pre class=k-raw>the <del>old</del> cat</pre>",
        "<pre class=k-raw>the <ins>new</ins> cat</pre>",
    )
    assert difference("word " * 9_000, "x") is None


def test_what_is_too_long_to_parse_is_shown_as_it_is() -> None:
    text = "**x** " * MARKDOWN_LIMIT
    assert visible(markdown(text)) == text.strip()
