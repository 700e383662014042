// The page's behaviour. Runs once, with Gradio's `element` (the component's root) and `server` (our Python functions).
// Everything shown is HTML the server rendered; verdicts carry the token of the item they were shown with.
const PAGES = ["annotate", "history", "review", "items", "dashboard", "project", "users", "account", "webhooks"];
const OPENS = [...PAGES, "case", "reading", "open edit", "open snapshot"]; // they only show something
const SENDS = ["vote", "edit", "decide", "decide text"]; // they end a draft
let busy = false;
let wanted = null; // the page that was asked for while another answer was on its way
let appeared = performance.now();
let looked = 0; // milliseconds of looking before the tab was last hidden
let polling = 0;

const find = (selector) => element.querySelector(selector);
const app = () => find(".k-app");

// A text of this program in the language of the page, with values in the places of its %s.
function word(text, ...values) {
  const said = JSON.parse(app()?.dataset.words || "{}")[text] ?? text;
  return said.replace(/%s/g, () => String(values.shift() ?? ""));
}

// The language that was chosen here, or else the browser's.
const language = () => load(localStorage, "keel.language") ?? navigator.language;
const visible = (node) => node && !node.closest("[hidden]") && !node.disabled;

function note(text, isError, aside = "") {
  const box = find(".k-note");
  if (!text) return;
  text = text[0].toUpperCase() + text.slice(1);
  const heard = document.createElement("span");
  heard.className = "k-hidden";
  heard.textContent = aside;
  box.replaceChildren(text, heard);
  box.className = isError ? "k-note k-error k-on" : "k-note k-on";
  clearTimeout(note.timer);
  note.timer = setTimeout(() => box.classList.remove("k-on"), isError ? 8000 : 3500);
}

// The address names the page, so that a reload, a second tab and the browser's Back find it: #/project/page/number
function address() {
  const main = find(".k-main");
  const number = main?.dataset.judgement ?? main?.dataset.item ?? main?.dataset.reading ?? main?.dataset.snapshot ?? "";
  const page = number && app().dataset.page === "annotate" ? "edit" : app().dataset.page;
  return "#/" + [app().dataset.project, page, number].filter(Boolean).map(encodeURIComponent).join("/");
}

function remember(how) {
  if (!app().dataset.project) return;
  const here = address();
  if (location.hash !== here) history[how](null, "", here);
  document.title = `${app().dataset.project}, ${app().dataset.page} · Keel`;
  store(localStorage, "keel.project", app().dataset.project); // for a tab without an address
}

async function visit() {
  const [project, page, number] = location.hash.replace(/^#\//, "").split("/").map(unescaped);
  const known = { edit: ["open edit", { judgement: Number(number) }], case: ["case", { item: Number(number) }], reading: ["reading", { judgement: Number(number) }], snapshot: ["open snapshot", { fields: { snapshot: number ?? "" } }] };
  const [action, data] = (Object.hasOwn(known, page ?? "") && known[page]) || [PAGES.includes(page) ? page : "start", {}];
  const wanted = project || load(localStorage, "keel.project");
  const reply = await ask(action, { ...data, project: wanted }, "replaceState");
  // An address of long ago, or of somebody with another role: show what there is, and leave the message.
  if (reply && reply.html === null) await ask("annotate", { project: ["annotate", "start"].includes(action) ? "" : wanted }, "replaceState");
}

function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function show(html, how) {
  const place = find(".k-root");
  const before = { page: app()?.dataset.page, top: find(".k-main")?.scrollTop ?? 0 };
  const views = { raw: app()?.classList.contains("k-show-raw"), guideline: app()?.classList.contains("k-show-guideline") };
  place.innerHTML = html;
  document.documentElement.lang = app().lang;
  document.documentElement.dir = app().dir;
  app().classList.toggle("k-show-raw", Boolean(views.raw));
  app().classList.toggle("k-show-guideline", views.guideline ?? window.innerWidth > 1500);
  for (const act of ["raw", "guideline"]) {
    find(`[data-act=${act}]`)?.setAttribute("aria-pressed", String(app().classList.contains(`k-show-${act}`)));
  }
  remember(how);
  find(".k-bar nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" }); // a narrow bar scrolls
  restoreDraft();
  if (groups().length) markNext(null);
  showMarks();
  toTheLastTurn();
  appeared = performance.now();
  looked = 0;
  clearTimeout(polling);
  poll();
  app().classList.toggle("k-panel-open", Boolean(find("#k-skip:not([hidden]), #k-harms:not([hidden])")));
  window.scrollTo(0, 0);
  if (app().dataset.page === "dashboard" && before.page === "dashboard") find(".k-main").scrollTop = before.top;
  (find(".k-prompt") ?? find(".k-main"))?.focus({ preventScroll: true });
  requestIdleCallback(settle, { timeout: 1000 });
}

// The last turn is the one that is answered: a long conversation opens at it.
function toTheLastTurn() {
  const prompt = find(".k-prompt");
  const last = prompt?.querySelector(".k-turn:last-of-type");
  if (!last) return;
  prompt.scrollTop += last.getBoundingClientRect().top - prompt.getBoundingClientRect().top - 28;
  if (prompt.scrollTop < 8) prompt.scrollTop = 0;
  const mark = () => prompt.classList.toggle("k-has-earlier", prompt.scrollTop > 8);
  prompt.addEventListener("scroll", mark, { passive: true });
  mark();
}

// What can wait until the page is painted.
function settle() {
  for (const box of element.querySelectorAll(".k-text pre, .k-wide-table")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; // so that the keyboard can scroll it
  }
  // While the annotator reads, the server renders what is likely to come next; if this fails, it does so later.
  if (find(".k-main").dataset.token) server.act({ action: "prepare", project: app().dataset.project }).catch(() => {});
}

// A page that waits for something looks again by itself, but not while one is at a control of it or it is out of sight.
function poll() {
  const waiting = find("[data-poll]");
  if (!waiting) return;
  polling = setTimeout(() => {
    if (document.hidden || busy || document.activeElement?.matches(".k-app *:not(.k-main, .k-prompt)")) poll();
    else ask(waiting.dataset.pollAction ?? "annotate");
  }, waiting.dataset.poll * 1000);
}

async function ask(action, data = {}, how = "pushState") {
  if (busy) {
    if (OPENS.includes(action)) wanted = [action, { project: app()?.dataset.project ?? null, ...data }, how];
    return null;
  }
  busy = true;
  element.setAttribute("aria-busy", "true");
  try {
    const project = data.project ?? app()?.dataset.project ?? null;
    const key = draftKey();
    const reply = await server.act({ action, ...data, project, language: language() });
    if (SENDS.includes(action) && !reply.error) store(sessionStorage, key, null);
    if (action === "change password" && !reply.error && (await sessionEnded())) return null;
    // The log-out reaches the provider of single sign-on too, by a cookie that nothing else is sent.
    if (action === "sign out everywhere" && !reply.error) return find(".k-bar form[action=logout]").submit() ?? null;
    if (typeof reply.html === "string") show(reply.html, action === "vote" ? "replaceState" : how);
    if (OPENS.includes(action) && !reply.error) find(".k-note:not(.k-error)")?.classList.remove("k-on"); // it was of the page before
    const left = action === "vote" ? find(".k-main").dataset.left : null;
    note(reply.error || reply.note, Boolean(reply.error), left ? word(". Next item, %s left for you", left) : "");
    return reply;
  } catch (error) {
    if (await sessionEnded()) return null;
    note((await outage()) ?? word("The server does not answer, so nothing was changed. Press again in a moment."), true);
    return null;
  } finally {
    busy = false;
    element.removeAttribute("aria-busy");
    const next = wanted;
    wanted = null;
    if (next) setTimeout(() => ask(...next));
  }
}

// Gradio keeps the text of a refusal to itself.
async function outage() {
  const reply = await fetch("health", { cache: "no-store" }).catch(() => null);
  return reply?.status === 503 ? (await reply.json().catch(() => null))?.reason : null;
}

// A log-in that ended elsewhere is no failure of the server: go to the log-in, and come back to this page.
async function sessionEnded() {
  const reply = await fetch("config", { cache: "no-store" }).catch(() => null);
  if (reply?.status !== 401) return false;
  location.assign(`login?ended=1${location.hash}`);
  return true;
}

function dwell() {
  return Math.round(looked + (document.hidden ? 0 : performance.now() - appeared));
}

function verdict(label, button) {
  const form = find(".k-verdict");
  const main = find(".k-main");
  const said = { label, rationale: form.querySelector("[name=rationale]").value };
  if (button?.dataset.strength) said.strength = Number(button.dataset.strength);
  if (label === "skip") said.skip_reason = button.dataset.reason;
  CONTENT[label]?.(said);
  if (label !== "skip" && marked().length) said.spans = marked();
  if (label !== "skip" && turnBoxes().length) said.turns = turnVerdicts();
  if (label === "unsafe") {
    said.harms = [...form.querySelectorAll("[name=harm]:checked")].map((box) => box.value);
    const severity = form.querySelector("[name=severity]:checked");
    if (severity) said.severity = Number(severity.value);
    if (!said.harms.length) return note(word("Choose at least one category of harm"), true);
  }
  const seen = main.dataset.seen ? Number(main.dataset.seen) : null;
  if (main.dataset.reading) return ask("decide text", { judgement: Number(main.dataset.reading), seen, said });
  const item = main.dataset.item;
  if (item) return ask("decide", { item: Number(item), seen, said });
  const judgement = main.dataset.judgement;
  if (judgement) return ask("edit", { judgement: Number(judgement), said });
  return ask("vote", { token: main.dataset.token, said, ms: dwell() });
}

function panel(id, open) {
  const box = find(id);
  if (!box) return;
  box.hidden = !open;
  app().classList.toggle("k-panel-open", open); // its digits are not those of the large buttons
  if (open) box.scrollIntoView({ block: "nearest" });
  find(`[aria-controls=${id.slice(1)}]`)?.setAttribute("aria-expanded", String(open));
  if (open) box.querySelector("button, input")?.focus();
  else (find(".k-prompt") ?? find(".k-main"))?.focus({ preventScroll: true });
}

function toggle(act) {
  const on = app().classList.toggle(`k-show-${act}`);
  find(`[data-act=${act}]`)?.setAttribute("aria-pressed", String(on));
  return on;
}

async function difference() {
  const button = find("[data-act=difference]");
  if (!button) return;
  showPreview(null);
  const boxes = [...element.querySelectorAll(".k-response .k-scroll")];
  const old = element.querySelectorAll(".k-difference");
  if (old.length) {
    old.forEach((node) => node.remove());
    app().classList.remove("k-show-difference");
    return button.setAttribute("aria-pressed", "false");
  }
  const texts = boxes.map((box) => box.querySelector("[name=text]")?.value ?? [...box.querySelectorAll(".k-as-is")].map((part) => part.textContent).join("\n"));
  const reply = await ask("difference", { left: texts[0], right: texts[1] });
  if (!Array.isArray(reply?.html)) return;
  boxes.forEach((box, n) => {
    const shown = document.createElement("div");
    shown.className = "k-text k-difference";
    shown.innerHTML = reply.html[n];
    box.append(shown);
  });
  app().classList.add("k-show-difference");
  button.setAttribute("aria-pressed", "true");
}

const ACTS = {
  mark: markSelection,
  preview,
  write,
  reading: (button) => ask("reading", { judgement: Number(button.dataset.judgement) }),
  language: (button) => {
    store(localStorage, "keel.language", button.dataset.language);
    visit();
  },
  back: () => escape(),
  help: () => find(".k-help").showModal(),
  close: () => find(".k-help").close(),
  raw: () => toggle("raw"),
  guideline: () => toggle("guideline"),
  difference,
  skip: () => panel("#k-skip", find("#k-skip").hidden),
  unsafe: () => panel("#k-harms", find("#k-harms").hidden),
  "close-skip": () => panel("#k-skip", false),
  "close-harms": () => panel("#k-harms", false),
  "confirm-unsafe": () => verdict("unsafe"),
  undo: (button) => button.dataset.judgement && ask("undo", { judgement: Number(button.dataset.judgement) }),
  edit: (button) => ask("open edit", { judgement: Number(button.dataset.judgement) }),
  case: (button) => ask("case", { item: Number(button.dataset.item), ...listed() }),
  "next-case": (button) => ask("next case", { item: Number(find(".k-main").dataset.item), fields: JSON.parse(button.dataset.fields) }),
  train: (button) => ask("train", { snapshot: button.dataset.snapshot }),
  snapshot: () => ask("snapshot", { name: find("[name=snapshot]").value }),
};

// The list that a case is opened from: "Next item" follows it, and Escape returns to it.
const listed = () => (find("[data-filter]") ? { fields: JSON.parse(find("[data-filter]").dataset.filter) } : {});

// A form sends its fields under the name of an action; a button sends the fields it holds.
function fieldsOf(form) {
  return Object.fromEntries([...new FormData(form)].filter(([, value]) => typeof value === "string"));
}

async function upload(form) {
  const file = form.elements.file.files[0];
  const asked = new URLSearchParams({ name: file.name.slice(0, 80), gold: form.elements.gold.checked });
  note(word("Importing …"), false);
  const path = `api/v1/projects/${encodeURIComponent(form.dataset.upload)}/import?${asked}`;
  const reply = await fetch(path, { method: "POST", body: file }).catch(() => null);
  const said = await reply?.json().catch(() => null);
  if (!reply?.ok) return note(said?.error?.message ?? word("The server does not answer. Nothing was imported."), true);
  await ask("project");
  const ordinary = said.ordinary ? ` ${word("(%s of them stay without a known answer)", said.ordinary)}` : "";
  note(word("%s items added, %s were there", said.items, said.known) + ordinary, false);
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-label], [data-act], [data-open], [data-do]");
  if (!button || button.disabled || !element.contains(button)) return;
  if (button.dataset.do) {
    if (!button.dataset.confirm || confirm(button.dataset.confirm)) ask(button.dataset.do, { fields: JSON.parse(button.dataset.fields) });
  } else if (button.dataset.open) ask(button.dataset.open);
  else if (button.dataset.act) ACTS[button.dataset.act]?.(button);
  else verdict(button.dataset.label, button);
});

element.addEventListener("input", (event) => {
  keepDraft();
  if (event.target.name === "text") keepText();
});
element.addEventListener("change", (event) => {
  const here = app().dataset.page;
  if (event.target.dataset.change === "project") ask(PAGES.includes(here) ? here : "annotate", { project: event.target.value });
  if ("submit" in event.target.dataset) event.target.form.requestSubmit();
  if (event.target.closest(".k-rate")) markNext(event.target.closest(".k-rate"));
});
element.addEventListener("focusin", (event) => {
  if (event.target.closest(".k-rate")) mark(event.target.closest(".k-rate"));
});
element.addEventListener("submit", (event) => {
  if (!event.target.matches(".k-verdict, [data-form], [data-upload]")) return;
  event.preventDefault();
  if (event.target.dataset.form) ask(event.target.dataset.form, { fields: fieldsOf(event.target) });
  if (event.target.dataset.upload) upload(event.target);
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) looked += performance.now() - appeared;
  else appeared = performance.now();
});
window.addEventListener("popstate", visit);
visit();
