"""The place of a pretrained model: a directory here, or a name on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lacks_directory(path: str) -> bool:
    """True if ``path`` can only be a directory here, and there is no such directory.

    A name on the hub has one slash at most; ``runs/`` is where training programs write by default.
    """
    local = path.startswith((".", "/", "~", "runs/")) or path.count("/") > 1
    return local and not Path(path).expanduser().exists()


@contextmanager
def reading_from_hub(path: str) -> Iterator[None]:
    """Add to an error of the hub that ``path`` is no directory here, which a mistyped path needs to know.

    Raises:
        OSError: what is read inside the block is not on the hub, or the hub cannot be reached.
    """
    try:
        yield
    except OSError as error:
        if Path(path).exists():
            raise
        reason = " ".join(str(error).split())[:200]
        what = "file" if path.endswith(".gguf") else "directory"
        raise OSError(
            f"there is no {what} {path} here; it was then looked for on the hub, without success: {reason}"
        ) from error


def model_folder(path: str | Path) -> Path:
    """The path of a model: a directory, or a name on the hub. ``ValueError`` if it can be neither."""
    folder = Path(path).expanduser()
    if folder.is_file():
        raise ValueError(f"{path} is a file; the directory of a trained reward model is needed here")
    if lacks_directory(str(path)):
        raise ValueError(f"no directory {path}: train that model first, or correct the path")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(f"{path} holds no config.json: it is not a finished model")
    return folder
