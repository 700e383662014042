"""Markdown, mathematics and code as HTML that cannot do anything. Runs in a process of its own (``render_process``).

The parser passes no HTML through: tags in the text are text, links and images lead nowhere, and no attribute comes from
the text. Everything a reward model reads is visible, ``<think>`` included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

_DIRECTED = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "td", "th"})
MATH_LIMIT = 2_000
CODE_LIMIT = 20_000
MARKDOWN_LIMIT = 60_000
NESTING = 40
_REASONING = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_MATHML = re.compile(
    r"</?(?:math|m[a-z]+)(?: (?:xmlns|display|stretchy|fence|form|separator|linethickness|mathvariant|minsize|maxsize"
    r"|width|height|depth|voffset|columnalign|rowlines|columnlines|rowspacing|columnspacing|accent|movablelimits|lspace"
    r"|rspace|notation|displaystyle|scriptlevel|linebreak)=\"[^\"<>&]*\")* ?/?>"
)
_COLOUR = re.compile(r' mathcolor="[^"<>&]*"')  # text in the colour of the page would not be seen
# Environments that the converter does not know as tables; its rows would run into one line.
_ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|eqnarray\*?)\}")
_UPRIGHT = re.compile(r"\\mathrm\s*\{\s*([A-Za-z])\s*\}")  # a unit, which the converter would set as a variable
_CENTRED = re.compile(r"\\(begin|end)\{(?:gather\*?|gathered|multline\*?)\}")


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
            plain = _ALIGNED.sub(r"\\\1{align*}", _CENTRED.sub(_array, source))
            plain = _UPRIGHT.sub(r"\\text{\1}", plain)
            made = _COLOUR.sub("", convert(plain, display=display))
            if "<" not in _MATHML.sub("", made):
                return str(made)
        except Exception:  # the converter raises whatever it stumbles over
            pass
    return f"<code>{escape(source)}</code>"


def _array(mark: re.Match[str]) -> str:
    return r"\begin{array}{c}" if mark[1] == "begin" else r"\end{array}"


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt(
        "commonmark", {"html": False, "linkify": False, "breaks": True, "highlight": _code, "maxNesting": NESTING}
    )
    parser.enable(["table", "strikethrough"]).disable(["image", "html_block", "html_inline", "reference"])
    parser.use(
        dollarmath_plugin,
        allow_space=False,
        allow_digits=False,
        renderer=lambda content, options: _math(content, "block" if options["display_mode"] else "inline"),
    )
    parser.use(texmath_plugin, delimiters="brackets")
    parser.inline.ruler.before("escape", "math_display", _display_math)
    parser.core.ruler.push("direction", _set_direction)
    for rule, display in (
        ("math_inline", "inline"),
        ("math_display", "block"),
        ("math_block", "block"),
        ("math_block_eqno", "block"),
    ):
        parser.add_render_rule(rule, _math_rule(display))
    # Links are words: their target is written behind them, for it is part of what is judged.
    parser.add_render_rule("link_open", lambda *_: '<span class="k-link">')
    parser.add_render_rule("link_close", _link_close)
    return parser


def _display_math(state: StateInline, silent: bool) -> bool:
    """``\\[…\\]`` within a paragraph, which the plugin for brackets reads at the beginning of a block alone."""
    if not state.src.startswith("\\[", state.pos):
        return False
    end = state.src.find("\\]", state.pos + 2, state.posMax)
    if end < 0:
        return False
    if not silent:
        state.push("math_display", "math", 0).content = state.src[state.pos + 2 : end].strip()
    state.pos = end + 2
    return True


def _set_direction(state: StateCore) -> None:
    """Have the browser choose the direction of every block by its text: Arabic, Hebrew and Persian run leftwards."""
    for token in state.tokens:
        if token.nesting == 1 and token.tag in _DIRECTED:
            token.attrSet("dir", "auto")


def _math_rule(display: str) -> Any:
    return lambda renderer, tokens, index, options, env: _math(tokens[index].content, display)


def _link_close(renderer: RendererHTML, tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
    depth = 0
    for token in reversed(tokens[: index + 1]):
        depth += {"link_close": 1, "link_open": -1}.get(token.type, 0)
        if depth == 0:
            return f"</span> <span class=k-target>({escape(str(token.attrGet('href') or ''))})</span>"
    return "</span>"


def markdown(text: str) -> str:
    """``text`` as inert HTML; as plain text where it is too long, or nested so deeply that the parser drops some."""
    if len(text) > MARKDOWN_LIMIT:
        return raw(text)
    environment: dict[str, Any] = {}
    tokens = _parser().parse(text, environment)
    if any(token.level >= NESTING - 1 for token in tokens):
        return raw(text)
    return str(_parser().renderer.render(tokens, _parser().options, environment))


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
    # A browser drops a line break at the beginning of <pre>, and reads CR LF as LF: both would move marked passages.
    return f"<pre class=k-raw dir=auto>\n{escape(text).replace(chr(13), '&#13;')}</pre>"


def code_styles() -> str:
    """The style sheet for highlighted code, light and dark."""
    light = HtmlFormatter(style="xcode", classprefix="c-").get_style_defs(".k-text")
    dark = HtmlFormatter(style="github-dark", classprefix="c-").get_style_defs(".dark .k-text")
    # Without the boxes around what a lexer takes for an error: models write fragments.
    rules = [line for line in f"{light}\n{dark}".splitlines() if ".c-" in line and ".c-err" not in line]
    return "\n".join(rules)
