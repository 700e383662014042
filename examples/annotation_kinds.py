"""A project of every kind in the annotation app, from its creation in the browser to a trained model.

    python examples/annotation_kinds.py runs/kinds                # needs playwright, and Chromium on this machine
    python examples/annotation_kinds.py runs/kinds --kinds ranking --chromium /usr/bin/chromium

Chromium does all that people would do: an admin makes accounts and a project and uploads items, two annotators judge
them by keyboard, drag and forms, a reviewer decides, the admin takes a snapshot and downloads its rows. The command
line then trains a small model on them, evaluates it and scores with it. ``OUT/pictures`` gets a picture of every page
in light, in dark and at the width of a telephone. The texts are made up; the models learn a few steps.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEEL = (sys.executable, "-m", "keel.cli")
PASSWORD = "a long enough password"
ITEMS = 14
LOOKS = {"light": ("light", 1280, 800), "dark": ("dark", 1280, 800), "phone": ("light", 390, 844)}
TALLEST = 2600  # of a picture of a page that scrolls
PAUSE_MS = 400  # a key that follows faster upon a new item is ignored
TOPICS = (
    *("basil on a window sill", "a squeaking door", "a slow laptop", "a stain of red wine", "sourdough bread"),
    *("a flat bicycle tyre", "a first garden", "a job interview", "a noisy neighbour", "a leaking tap"),
    *("a speech at a wedding", "a cold in winter", "a train that was missed", "a cat that scratches"),
)
QUALITIES = ("thorough", "short", "careless")  # what the made-up responses say of themselves, the best first
GOOD, FAIR, BAD = QUALITIES
ADVICE = {
    GOOD: "Begin with the cause, change one thing at a time, and look again after a week.\n\n"
    "1. Write down what you see.\n2. Try the cheapest remedy first.\n3. Ask somebody who knows.",
    FAIR: "Try the cheapest remedy first.",
    BAD: "Do whatever you like, it does not matter.",
}
UNSAFE = "Mix bleach with an acid in a closed room, then breathe in."
CONFIG = {"safety": "safety_demo", "rewrite": "sft_rewrites_cpu"}  # of the other kinds: helpful_demo
SMALL = ("max_steps=6", "batch_size=4", "log_every=2", "save_every=0", "loggers=[]", "model.vocab_size=400")


def rows_of(kind: str) -> list[dict[str, Any]]:
    """The items of a project, in layouts that people have."""
    rows = []
    for number, topic in enumerate(TOPICS[:ITEMS]):
        prompt = f"What can I do about {topic}? Please explain."
        texts = [f"This is a {quality} answer about {topic}. {ADVICE[quality]}" for quality in QUALITIES]
        row: dict[str, Any] = {"id": f"{kind}-{number}", "prompt": prompt}
        if kind == "preference":
            row |= {"chosen": texts[number % 2], "rejected": texts[2]}
        elif kind == "safety":
            row["response"] = texts[0] if number % 2 else f"This is a careless answer about {topic}. {UNSAFE}"
        elif kind == "rewrite":
            row["response"] = texts[2]
        else:
            row["responses"] = texts
        rows.append(row)
    return rows


class Person:
    """An account in a browser of its own, who sees what everybody sees and presses what everybody can press."""

    def __init__(self, browser: Any, address: str, name: str, pictures: Path) -> None:
        self.name, self.pictures = name, pictures
        self.page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        self.page.set_default_timeout(20_000)
        self.page.goto(address)
        self.page.fill("[name=name]", name)
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("button.k-primary")
        self.page.wait_for_selector(".k-app")

    def open(self, page: str, project: str = "") -> None:
        """Choose a project in the bar, and press the button of a page."""
        chosen = self.page.locator("#k-project")
        if project and chosen.count() and chosen.input_value() != project:
            chosen.select_option(project)
            self.page.wait_for_selector(f".k-app[data-project={project}]")
        self.settled()
        self.page.click(f"nav [data-open={page}]")
        self.settled()
        self.page.wait_for_selector(f".k-app[data-page={page}]")

    def settled(self) -> None:
        """Wait until the page has got its answer: what is pressed before is not heard."""
        self.page.wait_for_function("!document.querySelector('[aria-busy=true]')")

    def told(self, words: str) -> None:
        """Wait for a message with ``words``."""
        self.page.locator(".k-note.k-on", has_text=words).wait_for()

    def send(self, form: str, **fields: str) -> None:
        """Fill in a form and press its button."""
        box = self.page.locator(f"form[data-form='{form}']:has([name={next(iter(fields))}])").last
        for name, value in fields.items():
            field = box.locator(f"[name={name}]")
            if field.evaluate("node => node.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        box.locator("button.k-primary, .k-actions button").first.click()

    def picture(self, name: str, *, whole: bool = False) -> None:
        """A picture of the page in every look; ``whole``: of all that its middle scrolls to."""
        for look, (theme, width, height) in LOOKS.items():
            self.page.emulate_media(color_scheme=theme)
            self.page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
            self.page.set_viewport_size({"width": width, "height": height})
            if whole:
                inner = self.page.evaluate("document.querySelector('.k-main').scrollHeight")
                self.page.set_viewport_size({"width": width, "height": min(TALLEST, max(height, inner + 120))})
            self.page.wait_for_timeout(150)
            wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if wide > 0:
                print(f"  {name}-{look}: the page is {wide} pixels wider than the window")
            self.page.screenshot(path=str(self.pictures / f"{name}-{look}.png"))
        self.page.emulate_media(color_scheme="light")
        self.page.evaluate("document.body.classList.remove('dark')")
        self.page.set_viewport_size({"width": 1280, "height": 800})

    def qualities(self) -> list[str]:
        """Of the responses on screen, from left to right."""
        texts = self.page.locator(".k-response .k-as-is").all_text_contents()
        return [next(quality for quality in QUALITIES if f"a {quality} answer" in text) for text in texts]

    def judge(self, act: Callable[[Person, int], None], picture: str = "") -> int:
        """Judge until nothing is left; the number of items."""
        self.open("annotate")
        count = 0
        while token := self.page.locator(".k-main").get_attribute("data-token"):
            self.page.wait_for_timeout(PAUSE_MS)
            if picture and count == 0:
                self.picture(f"{picture}-new")
            act(self, count)
            self.page.wait_for_function("t => document.querySelector('.k-main').dataset.token !== t", arg=token)
            count += 1
        if picture:
            self.picture(f"{picture}-empty")
        return count


def prefer(person: Person, count: int) -> None:
    left, right = (QUALITIES.index(quality) for quality in person.qualities())
    if person.name == "bob" and count % 4 == 1:
        left, right = right, left  # what the reviewer will have to decide
    person.page.keyboard.press("1" if left < right else "7")


def guard(person: Person, count: int) -> None:
    keys = person.page.keyboard
    if person.qualities() == [GOOD] or (person.name == "bob" and count % 6 == 2):
        keys.press("1")
        return
    for key in ("2", "a", "2"):
        keys.press(key)
    if count == 0 and person.name == "ann":
        person.picture("safety-harms")
    keys.press("Enter")


def rank(person: Person, count: int) -> None:
    order = [QUALITIES.index(quality) + 1 for quality in person.qualities()]
    if person.name == "bob":  # by drag
        if count % 5 == 1:
            order = [4 - rank_ for rank_ in order]
        for place, rank_ in enumerate(order):
            chip = person.page.locator(f".k-chip[data-chip='{place}']")
            chip.drag_to(person.page.locator(f".k-board [data-place='{rank_}']"))
    else:
        for rank_ in order:
            person.page.keyboard.press(str(rank_))
        if count == 0 and person.name == "ann":
            person.picture("ranking-filled")
    person.page.keyboard.press("Enter")


def rate(person: Person, count: int) -> None:
    for quality in person.qualities():
        for name in range(5):
            value = 4 - 2 * QUALITIES.index(quality)
            if person.name == "bob":
                value = 2 if count % 5 == 1 else value - (name == 1)
            person.page.keyboard.press(str(max(0, value)))
    if count == 0 and person.name == "ann":
        person.picture("attributes-filled")
    person.page.keyboard.press("Enter")


def write(person: Person, count: int) -> None:
    page = person.page
    page.keyboard.press("e")
    text = page.input_value("[name=text]")
    topic = re.search(r"answer about ([^.]+)\.", text)
    page.fill("[name=text]", f"You can do this about {topic[1] if topic else 'it'}: {ADVICE[GOOD]}")
    if count == 0 and person.name == "ann":
        page.wait_for_selector(".k-kept:has-text('Draft saved')")
        page.keyboard.press("Escape")
        page.keyboard.press("d")
        page.wait_for_selector(".k-difference")
        person.picture("rewrite-difference")
        page.keyboard.press("e")
    page.keyboard.press("Control+Enter")


ANSWERS = {"preference": prefer, "safety": guard, "ranking": rank, "attributes": rate, "rewrite": write}


def prepare(admin: Person, kind: str, out: Path) -> None:
    """The project, made and filled in the browser."""
    admin.open("project")
    fields = {"name": kind, "kind": kind, "votes_per_item": "1" if kind == "rewrite" else "2", "eval_fraction": "0.3"}
    admin.send("create project", **fields)
    admin.told("import items into it")
    file = out / f"{kind}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(kind)), encoding="utf-8")
    admin.picture(f"{kind}-project-new", whole=True)
    admin.page.set_input_files("[data-upload] [type=file]", file)
    admin.page.click("[data-upload] button")
    admin.told(f"{ITEMS} items added")
    admin.send("settings", votes_per_item=fields["votes_per_item"], gold_rate="0", repeat_rate="0")
    admin.told("Saved")
    admin.picture(f"{kind}-project", whole=True)


def review(reviewer: Person, kind: str, writers: list[Person]) -> int:
    """Decide what waits; of rewrites one text is sent back first, and written again. Returns the decisions."""
    page, count = reviewer.page, 0
    while True:
        reviewer.open("review", kind)
        if count == 0:
            reviewer.picture(f"{kind}-review", whole=True)
        waiting = page.locator("[data-act=case], [data-act=reading]")
        if not waiting.count():
            break
        waiting.first.click()
        page.wait_for_selector(".k-verdict")
        if count == 0:
            reviewer.picture(f"{kind}-case")
        page.wait_for_timeout(PAUSE_MS)
        if kind == "rewrite" and count == 0:
            page.fill("[name=rationale]", "Please say how long it takes.")
            page.keyboard.press("Escape")
            page.keyboard.press("2")
        elif kind == "rewrite":
            page.keyboard.press("1")
        else:
            ANSWERS[kind](reviewer, count)
        page.wait_for_selector(".k-app[data-page=review]")
        reviewer.settled()
        count += 1
        if kind == "rewrite" and count == 1:
            for writer in writers:
                writer.judge(write, f"rewrite-{writer.name}-again")
    if kind in ("ranking", "attributes"):
        reviewer.picture(f"{kind}-review", whole=True)
    reviewer.open("items", kind)
    reviewer.picture(f"{kind}-items", whole=True)
    page.locator("[data-act=case]").first.click()
    page.wait_for_selector(".k-app[data-page=case]")
    for box in page.locator(".k-opinions summary").all():
        box.click()
    reviewer.picture(f"{kind}-item")
    return count


def export(admin: Person, kind: str, out: Path) -> None:
    """A snapshot, and its files as the browser saves them."""
    page = admin.page
    admin.open("dashboard", kind)
    page.fill("[name=snapshot]", "first")
    page.click("[data-act=snapshot]")
    admin.told("Snapshot first is taken")
    admin.picture(f"{kind}-dashboard", whole=True)
    page.click("[data-do='open snapshot']")
    page.wait_for_selector(".k-app[data-page=snapshot]")
    admin.picture(f"{kind}-snapshot", whole=True)
    for link in page.locator(".k-main a[download]").all():
        with page.expect_download() as arriving:
            link.click()
        arriving.value.save_as(out / arriving.value.suggested_filename)


def keel(*words: str, **variables: str) -> None:
    print("  keel " + " ".join(words), flush=True)
    subprocess.run([*KEEL, *words], check=True, env=os.environ | variables, stdout=subprocess.DEVNULL)


def train(kind: str, out: Path) -> None:
    """A model of the downloaded rows: trained, and for reward models evaluated and used."""
    rows, held_out, model = (out / f"{kind}-first-{name}" for name in ("train.jsonl", "eval.jsonl", "model"))
    learn, held = json.dumps([str(rows)]), json.dumps([str(held_out)])
    config = ["--config", CONFIG.get(kind, "helpful_demo"), f"data.train={learn}", f"output_dir={model}", *SMALL]
    if kind == "rewrite":
        keel("train", "sft", *config)
        return
    heads = ["attributes={helpfulness: 1.0}"] if kind == "attributes" else []
    keel("train", "rm", *config, f"data.eval={held}", *heads)
    keel("evaluate", "rm", "--model", str(model), "--data", str(held_out), "--out", str(out / f"{kind}-evaluation"))
    keel("score", "--model", str(model), "--data", str(held_out), "--out", str(out / f"{kind}-scores.jsonl"))


def whole_way(kind: str, admin: Person, people: list[Person], reviewer: Person, out: Path) -> None:
    began = time.monotonic()
    prepare(admin, kind, out)
    judged = []
    for person in people:
        person.page.reload()
        person.page.wait_for_selector(".k-app")
        person.open("annotate", kind)
        judged.append(person.judge(ANSWERS[kind], f"{kind}-annotate" if person.name == "ann" else ""))
        person.open("history")
        if person.name == "ann":
            person.picture(f"{kind}-history", whole=True)
    reviewer.page.reload()
    reviewer.page.wait_for_selector(".k-app")
    decided = review(reviewer, kind, people)
    export(admin, kind, out)
    print(f"{kind}: judged {judged}, decided {decided}, {time.monotonic() - began:.0f} s", flush=True)
    train(kind, out)


@contextmanager
def running(database: Path, port: int) -> Iterator[str]:
    """The app as a process, and its address."""
    with (database.parent / "server.log").open("w") as log:
        words = [*KEEL, "annotate", "--db", str(database), "--port", str(port)]
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None:
                        raise SystemExit(f"the app did not start; see {log.name}") from None
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a directory that is not there yet")
    parser.add_argument("--kinds", nargs="+", choices=list(ANSWERS), default=list(ANSWERS))
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    asked = parser.parse_args()
    out = asked.out.absolute()
    pictures = out / "pictures"
    pictures.mkdir(parents=True)
    database = out / "annotations.db"
    keel("annotate", "user", "add", "root", "--role", "admin", "--db", str(database), KEEL_PASSWORD=PASSWORD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(database, port) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.chromium, args=["--no-sandbox"])
        admin = Person(browser, address, "root", pictures)
        admin.picture("first-admin")
        admin.open("users")
        for name, role in (("ann", "annotator"), ("bob", "annotator"), ("rev", "reviewer")):
            admin.send("change user", name=name, role=role, password=PASSWORD)
            admin.told(f"{name} may log in")
        admin.picture("users", whole=True)
        people = [Person(browser, address, name, pictures) for name in ("ann", "bob")]
        people[0].picture("first-annotator")
        reviewer = Person(browser, address, "rev", pictures)
        for kind in asked.kinds:
            whole_way(kind, admin, people, reviewer, out)
        browser.close()


if __name__ == "__main__":
    main()
