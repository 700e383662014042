"""Time from a key press to the next item on screen, in Chromium against ``keel annotate`` on this machine.

    python benchmarks/annotation_latency.py --keys 200 --out benchmarks/results/annotation_latency.json

The items hold two responses of about 2,500 characters with lists, code and a table. The clock starts when the page gets
the key and stops in the first frame painted after the next item has replaced the one before. An annotator's guard
against late keys is waited out before each press and is not part of the time.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from annotation_load import Server
from harness import environment, parser, write

from annotation_ui.store.database import open_database
from annotation_ui.store.projects import Candidate, Settings, add_items, create_project
from reward_models.data.records import Message

CHROMIUM = os.environ.get("KEEL_TEST_CHROMIUM", "/usr/bin/chromium")
GUARD_MS = 400
TEXT = """Here is how it goes, **step by step**, for number {n}:

1. First we look at the problem from the beginning, and write down what is known about it and what is asked.
2. Then we choose a method, say why, and check that its conditions hold.

```python
def answer(question: str) -> str:
    return question[::-1]
```

| case | value |
|------|-------|
| one  | $x^2$ |
| two  | 17    |

"""
# Runs in the page: milliseconds from each key press to the frame in which the next item is painted.
WATCH = """() => {
  window.waits = [];
  let pressed = null;
  document.addEventListener("keydown", () => (pressed = performance.now()), true);
  new MutationObserver(() => {
    if (pressed === null || !document.querySelector(".k-main[data-token]")) return;
    const from = pressed;
    pressed = null;
    requestAnimationFrame(() => setTimeout(() => window.waits.push(performance.now() - from)));
  }).observe(document.querySelector("#keel .k-root"), { childList: true });
}"""


def prepare(path: str, items: int) -> None:
    database, now = open_database(path), time.time()
    with database.write() as session:
        project = create_project(
            session, "latency", "preference", Settings(gold_rate=0, repeat_rate=0), author="benchmark", now=now
        )
        made = (
            Candidate(
                prompt=(Message("user", f"Question {n}: how is it done?"),),
                responses=tuple((Message("assistant", TEXT.format(n=f"{n}{slot}") * 6),) for slot in "ab"),
                models=(None, None),
            )
            for n in range(items)
        )
        add_items(session, project, made, author="benchmark", now=now)
    database.close()


def measure(url: str, keys: int) -> list[float]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        page.wait_for_selector(".k-verdict")
        page.evaluate(WATCH)
        for key in range(keys):
            page.wait_for_timeout(GUARD_MS)
            page.keyboard.press(str(1 + key % 7))
            page.wait_for_function("n => window.waits.length > n", arg=key)
        waits: list[float] = page.evaluate("window.waits")
        browser.close()
    return waits


def run(keys: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "latency.db")
        prepare(path, keys + 10)
        server = Server(path)
        try:
            waits = np.array(measure(server.url, keys))
        finally:
            server.stop()
    p50, p95, p99 = np.percentile(waits, (50, 95, 99)).round(1).tolist()
    share = float(np.mean(waits <= 100))
    return {"keys": keys, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "share_within_100_ms": round(share, 4)}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--keys", type=int, default=200)
    options = made.parse_args()
    found = environment()
    write(options.out, {"environment": found, **run(options.keys)})


if __name__ == "__main__":
    main()
