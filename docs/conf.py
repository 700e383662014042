"""Sphinx configuration. ``make docs`` builds the site without a network; every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

project = "Keel"
author = "The Keel authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "commands",
    "settings",
    "sources",
]
exclude_patterns = ["_ext"]

html_theme = "furo"
html_title = "Keel"
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False  # it would be fetched, which browsers refuse for files
html_copy_source = False
html_show_sourcelink = False

myst_heading_anchors = 4

napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
