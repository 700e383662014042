"""The files of the machine that a program in the sandbox can read: those that the interpreter needs, and no others.

They are found by running the interpreter once: it imports the extension modules of its standard library and lists the
shared libraries that are then mapped into its memory. Installed packages are not among them.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

DEVICES = ("/dev/null", "/dev/urandom")
LOADER_FILES = ("/etc/ld.so.cache", "/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path")
TIME_ZONES = "/usr/share/zoneinfo"
TOP_LINKS = ("/bin", "/lib", "/lib32", "/lib64")  # links into /usr on most systems
LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")  # the loader itself has a link there
PACKAGES = ("site-packages", "dist-packages")

LISTING = """
import importlib, json, os, sysconfig
paths = sysconfig.get_paths()
folder = os.path.join(paths["platstdlib"], "lib-dynload")
for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
    module = name.partition(".")[0]
    if "test" not in module and not module.startswith("xx") and module != "_tkinter":
        try:
            importlib.import_module(module)
        except Exception:
            pass
with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
    fields = [line.rstrip("\\n").split(None, 5) for line in maps]
print(json.dumps({
    "directories": sorted({paths["stdlib"], paths["platstdlib"]}),
    "mapped": sorted({each[5] for each in fields if len(each) == 6 and each[5].startswith("/")}),
}))
"""


@dataclass(frozen=True, slots=True)
class Files:
    """Contents of a sandbox's root directory besides the program's own files. All paths are absolute.

    Attributes:
        directories, files: mounted read-only at the paths that they have outside.
        hidden: directories below ``directories`` that are empty in the box.
        links: symbolic link → its target.
    """

    directories: list[str]
    files: list[str]
    hidden: list[str]
    links: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@functools.cache
def interpreter_files(python: str, environment: tuple[tuple[str, str], ...]) -> Files:
    """The files that ``python``, the real path of an interpreter, needs.

    Raises:
        OSError: it does not run.
    """
    found = _listed(python, dict(environment))
    directories = [*found["directories"], *([TIME_ZONES] if os.path.isdir(TIME_ZONES) else [])]
    mapped = [path for path in found["mapped"] if os.path.isfile(path)]
    files = [path for path in mapped if not path.startswith(tuple(f"{each}/" for each in directories))]
    libraries = set(files)
    others = [path for path in (*DEVICES, *LOADER_FILES) if os.path.exists(path)]
    return Files(
        directories=directories,
        files=sorted({python, *libraries, *others}),
        hidden=[path for each in directories for name in PACKAGES if os.path.isdir(path := os.path.join(each, name))],
        links=_top_links() | _library_links(libraries),
    )


def _listed(python: str, environment: Mapping[str, str]) -> dict[str, list[str]]:
    done = subprocess.run(
        [python, "-I", "-S", "-B", "-c", LISTING], env=environment, cwd="/", capture_output=True, check=False
    )
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise OSError(f"{python} does not list its files: {done.stderr[-300:].decode(errors='replace')}") from None


def _top_links() -> dict[str, str]:
    """Links of the root directory. They are relative: while a box is built, its root is not yet ``/``."""
    return {link: os.readlink(link).lstrip("/") for link in TOP_LINKS if os.path.islink(link)}


def _library_links(libraries: set[str]) -> dict[str, str]:
    """Links to the libraries: the loader looks for ``libz.so.1``, the file is ``libz.so.1.2.13``."""
    links = {}
    for folder in {os.path.realpath(each) for each in (*map(os.path.dirname, libraries), *LIBRARY_FOLDERS)}:
        for entry in os.scandir(folder) if os.path.isdir(folder) else ():
            if entry.is_symlink() and (target := os.path.realpath(entry.path)) in libraries:
                links[entry.path] = target
    return links
