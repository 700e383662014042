"""Chat templates for policies.

``r1_zero``: DeepSeek-R1-Zero's conversation of a user and an assistant, who is told to think. ``r1``: ChatML in which
every reply begins with ``<think>``, written by the template. ``chatml``: ChatML for replies without thoughts. All keep
the thoughts of earlier replies, and mark what the assistant writes with ``{% generation %}``.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

TEMPLATES = ("r1", "r1_zero", "chatml")


def template_text(name: str) -> str:
    """The Jinja text of a template by name, or of a file.

    Raises:
        ValueError: neither such a template nor such a file.
    """
    if name in TEMPLATES:
        return (resources.files(__name__) / f"{name}.jinja").read_text(encoding="utf-8")
    if Path(name).is_file():
        return Path(name).read_text(encoding="utf-8")
    raise ValueError(f"model.chat_template: {name} is neither a file nor one of {', '.join(TEMPLATES)}")
