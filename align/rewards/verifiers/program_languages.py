"""The languages of programs: how a program is found in a response, what it is run with, and a caller for functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLUMN = "programming_language"
NOT_CALLED = "functions of programs in {} cannot be called; give tests that read and print"

# Run in the sandbox: call one function of the program. What the program prints goes to stderr.
PYTHON_CALLER = """\
import json, os, runpy, sys
result = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
call = json.load(sys.stdin)
found = runpy.run_path("solution.py", run_name="solution")
name = call["function"]
function = found[name] if name in found else getattr(found["Solution"](), name)
# Numbers and arrays of numpy have tolist.
json.dump(function(*call["arguments"]), result, allow_nan=False, default=lambda value: value.tolist())
result.flush()
"""
JAVASCRIPT_CALLER = """\
const fs = require("fs"), vm = require("vm");
const call = JSON.parse(fs.readFileSync(0, "utf8")), write = fs.writeSync, text = JSON.stringify;
const error = process.stderr;
Object.defineProperty(process, "stdout", { value: error });
globalThis.console = new console.Console({ stdout: error, stderr: error });
for (const name of ["write", "writeSync", "writev", "writevSync", "writeFile", "writeFileSync", "appendFileSync"]) {
  const given = fs[name];
  fs[name] = (file, ...rest) => given(file === 1 || file === "/dev/stdout" ? 2 : file, ...rest);
}
globalThis.require = require;
globalThis.module = { exports: {} };
vm.runInThisContext(fs.readFileSync("solution.js", "utf8").replace(/^export +(default +)?(?=[a-z{])/gim, ""));
const name = call.function, found = vm.runInThisContext(
  `typeof ${name} === "function" ? ${name} : typeof Solution === "function" ? null : module.exports[${text(name)}]`);
const value = found ? found(...call.arguments) : new (vm.runInThisContext("Solution"))()[name](...call.arguments);
const answer = text(value, (key, each) => {
  if (typeof each === "number" && !Number.isFinite(each)) throw new Error("a number that JSON does not know");
  return each;
});
if (answer === undefined) throw new Error("no JSON value");
write(1, answer);
"""


@dataclass(frozen=True, slots=True)
class Language:
    """A language that programs may be written in.

    Attributes:
        name: in the column ``programming_language``.
        label: of a fenced block.
        code: what a block without a label must look like.
        defines: what defines a function ``{name}``, or stands for it.
        file, solution: names of a program's file, and of one whose function is called.
        caller: a program that calls a function; ``None`` where that is not offered.
        sound: a program that prints 1.
        fusion: the language's name in SandboxFusion.
    """

    name: str
    label: re.Pattern[str]
    code: re.Pattern[str]
    defines: str
    file: str
    solution: str
    caller: str | None
    sound: str
    fusion: str


PYTHON = Language(
    name="python",
    label=re.compile(r"\{?\s*\.?(?:python|py)(?:[23](?:\.\d+)?)?(?![\w+-])", re.IGNORECASE),
    code=re.compile(
        r"^\s*(?:def|class|import|from|for|while|if|with|try|return|print|@\w)\b|print\(|input\(|\w\s*=\s*\S",
        re.MULTILINE,
    ),
    defines=r"^\s*(?:async\s+)?def\s+{name}\b|^class\s+Solution\b",
    file="program.py",
    solution="solution.py",
    caller=PYTHON_CALLER,
    sound="print(1)",
    fusion="python",
)
CPP = Language(
    name="cpp",
    label=re.compile(r"\{?\s*\.?(?:c\+\+|cpp|cxx|cc)(?:\d\d)?(?![\w+-])", re.IGNORECASE),
    code=re.compile(r"^\s*#\s*include\b|\bint\s+main\s*\(", re.MULTILINE),
    defines=r"\b{name}\s*\(",
    file="program.cpp",
    solution="solution.cpp",
    caller=None,
    sound="#include <iostream>\nint main() { std::cout << 1 << std::endl; }",
    fusion="cpp",
)
JAVASCRIPT = Language(
    name="javascript",
    label=re.compile(r"\{?\s*\.?(?:javascript|js|node(?:js)?|mjs|cjs)(?![\w+-])", re.IGNORECASE),
    code=re.compile(r"^\s*(?:const|let|var|function|class|if|for|while)\b|console\.|require\(|=>", re.MULTILINE),
    defines=r"\bfunction\s*\*?\s*{name}\b|\b(?:const|let|var)\s+{name}\s*=|\bclass\s+Solution\b|\bexports\.{name}\b",
    file="program.js",
    solution="solution.js",
    caller=JAVASCRIPT_CALLER,
    sound="console.log(1);",
    fusion="nodejs",
)
LANGUAGES = {each.name: each for each in (PYTHON, CPP, JAVASCRIPT)}
NAMES = {
    **dict.fromkeys(("python", "python3", "py"), PYTHON),
    **dict.fromkeys(("cpp", "c++", "cxx", "cpp17", "cpp20"), CPP),
    **dict.fromkeys(("javascript", "js", "nodejs", "node"), JAVASCRIPT),
}


def language_of(columns: Mapping[str, Any]) -> Language:
    """The language of a prompt's programs; Python where the column names none.

    Raises:
        ValueError: it names another.
    """
    name = columns.get(COLUMN)
    if name is None or name == "":
        return PYTHON
    found = NAMES.get(str(name).strip().casefold())
    if found is None:
        raise ValueError(f"its {COLUMN} {str(name)[:40]!r} is none of {', '.join(LANGUAGES)}")
    return found
