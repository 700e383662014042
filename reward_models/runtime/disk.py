"""Files that must be whole: checksums, and an error that explains a full disk."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from reward_models.runtime.distributed import World

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_checksums(directory: Path, files: Sequence[Path], rank: int) -> Path:
    """Write the SHA-256 of each of ``files``, which lie below ``directory``; returns the file of this rank."""
    sums = {file.relative_to(directory).as_posix(): _sha256(file) for file in files}
    target = directory / f"checksums-{rank:05d}.json"
    target.write_text(json.dumps(sums, indent=1), encoding="utf-8")
    return target


def damaged_files(directory: Path, world: World) -> list[str]:
    """The files below ``directory`` that are not as their checksums say, or are missing, each with the reason.

    Ranks share the reading, and every rank must call this. A rank names the files that it has read; if only others
    found damage, it says so. Files without a checksum, as earlier versions wrote them, count as whole.
    """
    damaged: list[str] = []
    sums: dict[str, str] = {}
    for listing in sorted(directory.glob("checksums-*.json")):
        try:
            sums |= {str(name): str(value) for name, value in json.loads(listing.read_text(encoding="utf-8")).items()}
        except (OSError, ValueError, AttributeError):
            damaged.append(f"{listing.name} cannot be read")
    for number, (name, expected) in enumerate(sorted(sums.items())):
        if number % world.size != world.rank:
            continue
        if not (directory / name).is_file():
            damaged.append(f"{name} is missing")
        elif _sha256(directory / name) != expected:
            damaged.append(f"the checksum of {name} differs")
    anywhere = bool(world.max(torch.tensor([float(bool(damaged))])).item())
    return damaged or (["another rank found a damaged file"] if anywhere else [])


@contextmanager
def explain_full_disk(what: str, partial: Path | None = None) -> Iterator[None]:
    """Turn any "no space left" error of the block into an ``OSError`` that names ``what`` was written.

    Args:
        partial: a directory with an unfinished result, which is deleted then.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else _errno_of(error)
        if number not in _FULL:
            raise
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        reason = "the quota is used up" if number == errno.EDQUOT else "no space left on the disk"
        raise OSError(f"{reason}: {what} was not written. Free some space; the same command then resumes") from error


def _errno_of(error: SafetensorError) -> int | None:
    """safetensors writes the number into its message: ``I/O error: No space left on device (os error 28)``."""
    found = re.search(r"os error (\d+)", str(error))
    return int(found[1]) if found else None


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
