"""Text written by models or strangers as HTML that cannot do anything.

Markdown is rendered here, on the server, by a parser that passes no HTML through: tags in the text are text, links and
images lead nowhere, no attribute comes from the text. Everything a reward model reads is visible, ``<think>`` included.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MATH_LIMIT = 2_000
CODE_LIMIT = 20_000
MARKDOWN_LIMIT = 60_000
DIFF_WORDS = 3_000
KEPT = 256
_REASONING = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MATHML = re.compile(
    r"</?(?:math|m[a-z]+)(?: (?:xmlns|display|stretchy|fence|form|separator|linethickness|mathvariant|minsize|maxsize"
    r"|width|columnalign|rowlines|columnlines|accent|movablelimits|lspace|rspace)=\"[^\"<>&]*\")*/?>"
)


def _code(code: str, language: str, _: str) -> str:
    """Highlighted code; plain where the language is unknown or the code too long."""
    if len(code) <= CODE_LIMIT:
        try:
            lexer = get_lexer_by_name(language or "text", stripnl=False)
        except ClassNotFound:
            return ""
        return highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix="c-"))
    return ""


def _math(source: str, display: str) -> str:
    """MathML, or the LaTeX itself where it cannot be read."""
    if len(source) <= MATH_LIMIT:
        try:
            # Some commands (\href, \class) carry text into attributes: only those known to be inert may pass.
            made = convert(source, display=display)
            if "<" not in _MATHML.sub("", made):
                return str(made)
        except Exception:  # the converter raises whatever it stumbles over
            pass
    return f"<code>{escape(source)}</code>"


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True, "highlight": _code})
    parser.enable(["table", "strikethrough"]).disable(["image", "html_block", "html_inline", "reference"])
    parser.use(
        dollarmath_plugin,
        allow_space=False,
        allow_digits=False,
        renderer=lambda content, options: _math(content, "block" if options["display_mode"] else "inline"),
    )
    parser.use(texmath_plugin, delimiters="brackets")
    for rule, display in (("math_inline", "inline"), ("math_block", "block"), ("math_block_eqno", "block")):
        parser.add_render_rule(rule, _math_rule(display))
    # Links are words: their target is written behind them, for it is part of what is judged.
    parser.add_render_rule("link_open", lambda *_: '<span class="k-link">')
    parser.add_render_rule("link_close", _link_close)
    return parser


def _math_rule(display: str) -> Any:
    return lambda renderer, tokens, index, options, env: _math(tokens[index].content, display)


def _link_close(renderer: RendererHTML, tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
    depth = 0
    for token in reversed(tokens[: index + 1]):
        depth += {"link_close": 1, "link_open": -1}.get(token.type, 0)
        if depth == 0:
            return f"</span> <span class=k-target>({escape(str(token.attrGet('href') or ''))})</span>"
    return "</span>"


@lru_cache(maxsize=KEPT)
def markdown(text: str) -> str:
    """``text`` as inert HTML; as plain text where it is too long to parse at once.

    The last texts are kept rendered: an item is shown to several people, and prepared before it is shown at all.
    """
    if len(text) > MARKDOWN_LIMIT:
        return f"<pre class=k-raw>{escape(text)}</pre>"
    return str(_parser().render(text))


def response(text: str, *, open_reasoning: bool) -> str:
    """A response, with each ``<think>`` part in a box that can be folded and whose tags can be read.

    Args:
        open_reasoning: show the reasoning at once, as a safety annotator must see it.
    """
    pieces, end = [], 0
    for match in _REASONING.finditer(text):
        pieces.append(markdown(text[end : match.start()]))
        closed = "" if match[0].endswith("</think>") else " <em>(never closed)</em>"
        words = len(match[1].split())
        opened = " open" if open_reasoning else ""
        pieces.append(
            f"<details class=k-think{opened}><summary>&lt;think&gt; reasoning, {words} words{closed}</summary>\n"
            f"{markdown(match[1])}</details>"
        )
        end = match.end()
    return "".join([*pieces, markdown(text[end:])])


def raw(text: str) -> str:
    """The text as the reward model reads it, character for character."""
    return f"<pre class=k-raw>{escape(text)}</pre>"


def difference(left: str, right: str) -> tuple[str, str] | None:
    """Both texts with the words that the other has not marked; ``None`` where they are too long to compare."""
    one, other = _WORDS.findall(left), _WORDS.findall(right)
    if max(len(one), len(other)) > DIFF_WORDS:
        return None
    shown: tuple[list[str], list[str]] = ([], [])
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        for words, side, mark in (("".join(one[i1:i2]), 0, "del"), ("".join(other[j1:j2]), 1, "ins")):
            if words:
                shown[side].append(escape(words) if tag == "equal" else f"<{mark}>{escape(words)}</{mark}>")
    return f"<pre class=k-raw>{''.join(shown[0])}</pre>", f"<pre class=k-raw>{''.join(shown[1])}</pre>"


def code_styles() -> str:
    """The style sheet for highlighted code, light and dark."""
    light = HtmlFormatter(style="xcode", classprefix="c-").get_style_defs(".k-text")
    dark = HtmlFormatter(style="github-dark", classprefix="c-").get_style_defs(".dark .k-text")
    # Without the boxes around what a lexer takes for an error: models write fragments.
    rules = [line for line in f"{light}\n{dark}".splitlines() if ".c-" in line and ".c-err" not in line]
    return "\n".join(rules)
