"""Links from a documentation page to a file of the repository lead to a page that shows the file.

In Markdown such a link is relative, ``../align/trainer.py``, so that it also works where the repository is browsed.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[2]


class LinkSources(SphinxTransform):
    """Replace every link to a file outside ``docs`` by a link to its page."""

    default_priority = 5  # before Sphinx looks for downloads and references

    def apply(self, **kwargs: Any) -> None:
        here = Path(self.env.doc2path(self.env.docname)).parent
        for node in [*self.document.findall(download_reference), *self.document.findall(pending_xref)]:
            file = (here / node.get("reftarget", "").partition("#")[0]).resolve()
            if (
                file.suffix == ".png"
                or not file.is_file()
                or not file.is_relative_to(ROOT)
                or file.is_relative_to(ROOT / "docs")
            ):
                continue
            name = file.relative_to(ROOT).as_posix()
            self.env.metadata[self.env.docname].setdefault("sources", "")
            self.env.metadata[self.env.docname]["sources"] += f"{name}\n"
            up = "../" * self.env.docname.count("/")
            link = nodes.reference("", "", *node.children, refuri=f"{up}source/{name}.html", internal=True)
            node.replace_self(link)


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page for every file that is linked."""
    names = {name for entry in app.env.metadata.values() for name in entry.get("sources", "").split()}
    for name in sorted(names):
        text = (ROOT / name).read_text(encoding="utf-8")
        try:
            lexer = get_lexer_for_filename(name)
        except ClassNotFound:
            lexer = TextLexer()
        code = highlight(text, lexer, HtmlFormatter(nowrap=True))
        body = f'<h1>{escape(name)}</h1><div class="highlight"><pre>{code}</pre></div>'
        yield f"source/{name}", {"title": name, "body": body}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(LinkSources)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
