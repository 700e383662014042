"""The rule-based rewards on real answers, and on answers and programs made to break them.

    KEEL_DATA=… python benchmarks/verifiers.py --out benchmarks/results/verifiers_cpu.json

Agreement with the labels of real solutions, equivalent and altered forms of olympiad answers, throughput, errors by
name, and how long the worst of a thousand hostile answers takes.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness import DATA, environment, parser, write

from align.rewards.rules.language import language_share
from align.rewards.terms import Sample
from align.rewards.verifiers.mathematics import MathAccuracy
from align.rewards.verifiers.sandbox import Sandbox
from align.rewards.verifiers.worker import PATIENCE
from reward_models.data.records import Message

QUESTION = (Message("user", "question"),)


def sample(response: str, answer: str) -> Sample:
    return Sample(
        prompt=QUESTION, response=response, domain="reasoning", answer=answer, tokens=len(response), finished=True
    )


def rows(data: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(data / "math" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def judged(pairs: Iterable[tuple[str, str]], **settings: Any) -> tuple[list[float | None], dict[str, Any]]:
    """Scores of (response, reference), with the rate, the errors and the slowest comparison."""
    term = MathAccuracy(**settings)
    seconds: list[float] = []
    compare = term._compare

    def timed(pair: Any) -> Any:
        start = time.perf_counter()
        try:
            return compare(pair)
        finally:
            seconds.append(time.perf_counter() - start)

    term._compare = timed  # type: ignore[method-assign]
    batch = [sample(response, reference) for response, reference in pairs]
    try:
        term.score([sample(r"\boxed{1}", "1")] * 2)  # starts a worker; the others start within the measurement
        seconds.clear()
        start = time.perf_counter()
        scores = term.score(batch)
        wall = time.perf_counter() - start
    finally:
        term.close()
    report = {
        "answers": len(batch),
        "compared": len(seconds),
        "seconds": round(wall, 2),
        "answers_per_second": round(len(batch) / wall, 1),
        "slowest_comparison_seconds": round(max(seconds), 2),
        "errors": dict(term.errors),
    }
    return scores, report


def gsm8k(data: Path, workers: int) -> dict[str, Any]:
    solutions = rows(data, "gsm8k_model_solutions.test")
    pairs = [(row["response"][0]["content"], row["answer"]) for row in solutions]
    scores, report = judged(pairs, workers=workers)
    outcome = Counter(zip((row["is_correct"] for row in solutions), scores, strict=True))
    agreed = outcome[True, 1.0] + outcome[False, 0.0]
    return report | {"agreement": agreed / len(solutions), "unscored": scores.count(None)}


def bare(answer: str) -> str:
    return answer.replace("$", "")


def parts(answer: str) -> list[str]:
    """Several values between dollars of their own, such as ``$2$,$-3$``."""
    return re.findall(r"\$([^$]+)\$", answer) if answer.count("$") >= 4 else []


FORMS: dict[str, Callable[[str], str | None]] = {
    "tagged as it is": lambda a: f"<answer>{a}</answer>",
    "boxed": lambda a: rf"So it is \boxed{{{bare(a)}}}.",
    "boxed, dfrac for frac": lambda a: rf"\boxed{{{bare(a)}}}".replace(r"\frac", r"\dfrac") if r"\frac" in a else None,
    "in a sentence": lambda a: f"Therefore, the final answer is ${bare(a)}$.",
    "several, in reverse order": lambda a: rf"\boxed{{{', '.join(reversed(parts(a)))}}}" if parts(a) else None,
    "plus 0": lambda a: rf"\boxed{{{bare(a)}+0}}" if re.fullmatch(r"\$?-?\d+\$?", a) else None,
    "doubled and halved": lambda a: (
        rf"\boxed{{\frac{{2({bare(a)})}}{{2}}}}" if not re.search(r"[=,<>]|\\text|\\le|\\ge|\\in|±|\\pm", a) else None
    ),
}
ALTERED: dict[str, Callable[[str], str | None]] = {
    "plus 1": lambda a: rf"\boxed{{{bare(a)}+1}}" if not re.search(r"[=,<>]|\\text|\\le|\\ge|\\in", a) else None,
    "one more value": lambda a: rf"\boxed{{{', '.join(parts(a))}, 987}}" if parts(a) else None,
    "one value less": lambda a: rf"\boxed{{{', '.join(parts(a)[1:])}}}" if parts(a) else None,
}


# Sums left undone: right by value, refused where an answer must have the form of its reference.
UNDONE = ("plus 0", "doubled and halved")


def olympiad(data: Path, workers: int) -> dict[str, Any]:
    answers = [row["answer"] for split in ("train", "test") for row in rows(data, f"olympiadbench_text.{split}")]
    report: dict[str, Any] = {}
    for group, forms, right in (("equivalent", FORMS, 1.0), ("altered", ALTERED, 0.0)):
        for name, form in forms.items():
            pairs = [(text, answer) for answer in answers if (text := form(answer)) is not None]
            for answer_form in ("any", "reference") if name in UNDONE else ("reference",):
                scores, figures = judged(pairs, workers=workers, answer_form=answer_form)
                missed = [reference for (_, reference), score in zip(pairs, scores, strict=True) if score != right]
                title = f"{group}: {name}" + (f", answer_form {answer_form}" if name in UNDONE else "")
                report[title] = figures | {"judged_right": scores.count(right), "missed": missed[:20]}
    return report


def references(data: Path, workers: int) -> dict[str, Any]:
    """Right answers that are refused: references as people and models write them, against themselves."""
    report: dict[str, Any] = {}
    for name in ("gsm8k.train", "gsm_hard.test"):
        found = rows(data, name)
        written = {
            "boxed": [(rf"\boxed{{{row['answer']}}}", row["answer"]) for row in found],
            "with thousands and a currency": [
                (f"The answer is ${float(row['answer']):,.2f}.", row["answer"])
                for row in found
                if float(row["answer"]) * 100 == int(float(row["answer"]) * 100)
            ],
            "with a unit": [(rf"\boxed{{{row['answer']}\text{{ apples}}}}", row["answer"]) for row in found],
            "the worked solution": [(row["solution"], row["answer"]) for row in found if "solution" in row],
        }
        for form, pairs in written.items():
            if pairs:
                scores, figures = judged(pairs, workers=workers)
                missed = [pair for pair, score in zip(pairs, scores, strict=True) if score != 1.0]
                report[f"{name}: {form}"] = figures | {"judged_right": scores.count(1.0), "missed": missed[:5]}
    return report


def hostile(count: int, seed: int) -> list[tuple[str, str]]:
    """Answers that a parser or a simplifier may never finish, no two alike."""
    chance = random.Random(seed)
    families: list[Callable[[int], str]] = [
        lambda n: "{" * n + "x" + "}" * n,
        lambda n: "(" * n + "x" + f")^{n}" * n,
        lambda n: r"\frac{1}{" * (n % 300) + "x" + "}" * (n % 300),
        lambda n: r"\sqrt{2+" * (n % 200) + "2" + "}" * (n % 200),
        lambda n: f"{n}" + "^{9" * (2 + n % 20) + "}" * (2 + n % 20),
        lambda n: f"{n}" + "!" * (1 + n % 4),
        lambda n: rf"\sum_{{k=1}}^{{10^{{{n}}}}} \sin(k^{n})",
        lambda n: rf"\int_0^1 \sin(x^{{{n}}}) e^{{x^{n}}} \ln(x+{n}) dx",
        lambda n: rf"(a+b+c+d+{n})^{{{n}}}",
        lambda n: "+".join(rf"\sin(x+{k})\cos({k}x)" for k in range(n % 60 + 5)),
        lambda n: "\\cdot".join(f"(x_{{{k}}}+y^{k})" for k in range(n % 80 + 5)),
        lambda n: "9" * (n * 20),
        lambda n: "1," * (n * 3) + "2",
        lambda n: r"\boxed{" * n,
        lambda n: "$" * (2 * n + 1) + "1",
        lambda n: r"\begin{pmatrix}" + "&".join(["x"] * (n % 25 + 2)) + r"\end{pmatrix}^{-99}",
        lambda n: rf"\log_{{{n}}}" * (n % 100 + 2) + "2",
        lambda n: rf"\binom{{{n}^{{{n}}}}}{{{n}}}",
        lambda n: "-" * n + "1",
        lambda n: r"\text{" + "no " * n + "}",
        lambda n: f"x^{{{n}}}" * (n % 200 + 2) + "=0",
        lambda n: "|" * n + "x" + "|" * n,
        lambda n: rf"\lim_{{x\to 0}} \frac{{\sin^{{{n}}} x}}{{x^{{{n}}}}}",
        lambda n: "\\left(" * n + "1" + "\\right)" * n,
        lambda n: "½" * n + "∞" * n,
    ]
    references = ["7", r"\frac{1}{2}", "(x+1)^{40}", r"\sin(x)^2", r"\{1,2,3\}", "(0, 1)"]
    pairs: dict[tuple[str, str], None] = {}
    while len(pairs) < count:
        answer = families[len(pairs) % len(families)](chance.randint(3, 1000))
        pairs[rf"<answer>{answer}</answer>", chance.choice(references)] = None
    return list(pairs)


def languages(data: Path) -> dict[str, Any]:
    texts = [row["solution"] for row in rows(data, "gsm8k.train")]
    start = time.perf_counter()
    shares = [language_share(text, "en") or 0.0 for text in texts]
    seconds = time.perf_counter() - start
    return {
        "texts": len(texts),
        "share_of_english_mean": round(statistics.fmean(shares), 5),
        "wholly_english": round(sum(share == 1.0 for share in shares) / len(shares), 4),
        "characters_per_second": round(sum(map(len, texts)) / seconds),
    }


def sandbox(repeats: int) -> dict[str, Any]:
    box = Sandbox()
    seconds = [box.run_python("print(input())", "x").seconds for _ in range(repeats)]
    return {
        "isolation": {"namespaces": box.isolation.namespaces, "user": box.isolation.user},
        "programs": repeats,
        "seconds_median": round(statistics.median(seconds), 3),
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--hostile", type=int, default=1000)
    made.add_argument("--hostile-time-limit", type=float, default=0.5)
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    report: dict[str, Any] = {"environment": environment(options.seed), "workers": options.workers}
    report["verifiers"] = {name: importlib.metadata.version(name) for name in ("math-verify", "sympy", "py3langid")}
    report["gsm8k_model_solutions"] = gsm8k(DATA, options.workers)
    report["olympiadbench_text"] = olympiad(DATA, options.workers)
    report["references"] = references(DATA, options.workers)
    report["language"] = languages(DATA)
    report["sandbox"] = sandbox(30)
    limit = options.hostile_time_limit
    pairs = hostile(options.hostile, options.seed)
    scores, figures = judged(pairs, workers=options.workers, time_limit=limit)
    report["hostile"] = figures | {
        "time_limit": limit,
        "killed_after": PATIENCE * limit + 1,
        "outcomes": {str(value): scores.count(value) for value in (1.0, 0.0, None)},
    }
    write(options.out, report)


if __name__ == "__main__":
    main()
