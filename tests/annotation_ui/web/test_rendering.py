"""Hostile text stays text; everything a reward model reads stays visible."""

from __future__ import annotations

import json
import resource
from html.parser import HTMLParser
from pathlib import Path

import pytest

from annotation_ui.web import markup
from annotation_ui.web.differences import difference
from annotation_ui.web.markup import MARKDOWN_LIMIT
from annotation_ui.web.rendering import code_styles, markdown, raw, response

ALLOWED = (
    " p br hr em strong s code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td span details "
    "summary math mrow mi mo mn mfrac msup msub msqrt mtext mstyle mspace munderover mover munder msubsup mtable "
    "mtr mtd mroot div section mpadded menclose mphantom "
)
ATTRIBUTES = (
    " class dir open start style xmlns display stretchy fence form separator linethickness mathvariant minsize maxsize "
    "width columnalign rowlines columnlines accent movablelimits lspace rspace notation displaystyle scriptlevel "
    "linebreak rowspacing columnspacing height depth voffset "
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
            if name == "dir":
                assert value == "auto"
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
    assert '<td dir="auto">2</td>' in markdown("| a | b |\n|---|---|\n| 1 | 2 |")
    assert ".dark .k-text" in code_styles()


def test_what_is_too_long_to_parse_is_shown_as_it_is() -> None:
    text = "**x** " * MARKDOWN_LIMIT
    assert visible(markdown(text)) == text.strip()


# Of each construct: an element that shows that it was understood.
LATEX = {
    r"\boxed{42}": '<menclose notation="box">',
    r"a\,b": "<mspace",
    r"a\quad b": "<mspace",
    r"a\qquad b": "<mspace",
    r"a\;b\:c\!d": "<mspace",
    r"\dfrac{a}{b}": "<mfrac>",
    r"\tfrac{a}{b}": "<mfrac>",
    r"\cfrac{1}{2}": "<mfrac>",
    r"\begin{aligned}a&=b\\c&=d\end{aligned}": "<mtable",
    r"\begin{align*}a&=b\\c&=d\end{align*}": "<mtable",
    r"\begin{gather}a\\b\end{gather}": "<mtable",
    r"\begin{split}a&=b\\&=c\end{split}": "<mtable",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}": "<mtable",
    r"\begin{cases}1&x>0\\0&x<0\end{cases}": "<mtable",
    r"\cancel{x}": '<menclose notation="updiagonalstrike">',
    r"\bcancel{x}": "<menclose",
    r"\int_0^1 x\,dx": "<mspace",
    r"a\pmod{5}": "<mspace",
    r"\displaystyle\sum_{i=1}^n i": "<munderover>",
    r"\textstyle\sum": "<mstyle",
    r"\xrightarrow{f}": "<mover>",
    r"\color{red}{x}": "<mi>x</mi>",
    r"\hspace{1cm}x": "<mspace",
    r"\sqrt[3]{x}": "<mroot>",
    r"\binom{n}{k}": "<mfrac",
    r"\text{if } x": "<mtext>",
    r"5\,\mathrm{m}": "<mtext>m</mtext>",
    r"v_\mathrm{m}^2": "<mtext>m</mtext>",
    r"\sum_{\substack{a\\b}} x": "<munder",
}


@pytest.mark.parametrize("source", LATEX)
def test_ordinary_latex_is_mathematics(source: str) -> None:
    html = markdown(f"$${source}$$")
    visible(html)
    assert LATEX[source] in html
    assert "<code>" not in html
    assert "mathcolor" not in html  # white on white would hide what a reward model reads


def test_mathematics_within_a_paragraph() -> None:
    for text in (r"So \[a=b\] here", "So\n\\[\na=b\n\\]\nhere", "So $$a=b$$ here", "So\n\n\\[\na=b\n\\]\n\nhere"):
        html = markdown(text)
        assert html.count("<math") == 1, text
        assert visible(html).split()[0] == "So"
        assert visible(html).endswith("here")
    assert visible(markdown(r"an array \[1, 2")) == "an array [1, 2"


def test_rows_of_aligned_equations_are_rows() -> None:
    assert markdown(r"$$\begin{aligned}a&=b\\c&=d\end{aligned}$$").count("<mtr>") == 2
    assert markdown(r"$$\begin{gathered}a\\b\end{gathered}$$").count("<mtr>") == 2


@pytest.mark.parametrize(
    "source", [r"\href{javascript:x}{y}", r"\class{k-dock}{x}", r"\id{keel}{x}", r"\style{color:red}{x}"]
)
def test_latex_that_carries_text_into_attributes_stays_text(source: str) -> None:
    visible(markdown(f"$${source}$$"))


def test_every_block_has_the_direction_of_its_text() -> None:
    html = markdown("# שלום\n\nمرحبا\n\n- one\n\n> two\n\n| a |\n|---|\n| b |")
    for tag in ("h1", "p", "ul", "blockquote", "td", "th"):
        assert f'<{tag} dir="auto"' in html
    assert "dir=auto" in raw("مرحبا")


@pytest.mark.parametrize(
    "text",
    [
        "\\(" * 30_000,
        "\\[" * 30_000,
        "$" + "\\(" * 29_000,
        "*a **a " * 8_000,
        "[" * 50_000,
        "`" * 20_000 + "x" + "`" * 19_999,
        "<think>" * 8_000,
        "<think>x</think>y" * 3_500,
        "$" + "{" * 1_900 + "$",
        "> " * 25_000 + "x",
        "```perl\n" + "<<" * 9_000 + "\n```",
    ],
)
def test_the_work_is_bounded_whatever_the_text(text: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    html = response(text, open_reasoning=True)
    assert "".join(visible(html).split()) != ""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    assert own < 1.0  # of this process, whose other threads wait meanwhile
    assert markdown("**after**") == '<p dir="auto"><strong>after</strong></p>\n'


def test_a_text_that_takes_too_long_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\\(" * 30_000
    assert markdown(text) == raw(text)
    assert markdown(text) == raw(text)
    assert markup.markdown("x") == markdown("x")


def test_the_raw_text_has_every_character_in_its_place() -> None:
    """A browser drops one line break after <pre> and reads CR LF as LF; a character reference stays what it is."""
    assert raw("\n\r\nx") == "<pre class=k-raw dir=auto>\n\n&#13;\nx</pre>"
