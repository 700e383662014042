"""Text written by models or strangers as HTML, at a bounded cost whatever the text.

What parses text (``markup``) runs in other processes, which are ended when they take too long. The last texts are kept
rendered: an item is shown to several people, and prepared before it is shown at all.
"""

from __future__ import annotations

from functools import cache, lru_cache

from annotation_ui.web.markup import code_styles, raw
from annotation_ui.web.render_process import RenderPool

__all__ = ["code_styles", "markdown", "raw", "response", "start"]
KEPT = 256


@cache
def _pool() -> RenderPool:
    return RenderPool()


def start() -> None:
    """Start the processes that render, before the first page needs them."""
    _pool().start()


@lru_cache(maxsize=KEPT)
def markdown(text: str) -> str:
    """``text`` as inert HTML; as plain text where it takes too long to parse."""
    return _pool().render("markdown", text) or raw(text)


@lru_cache(maxsize=KEPT)
def response(text: str, *, open_reasoning: bool) -> str:
    """A response as inert HTML, its reasoning in a box; as plain text where it takes too long to parse.

    Args:
        open_reasoning: show the reasoning at once, as a safety annotator must see it.
    """
    return _pool().render("response, open" if open_reasoning else "response", text) or raw(text)
