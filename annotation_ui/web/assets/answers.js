// Controls of single kinds of project: answers by digits, marked passages, texts.

// Answers by digits: the keys belong to one group of digits, the current one.
// A response is answered as a whole, then the next one; the order of all of them comes last.
const groups = () => [...element.querySelectorAll(".k-rate")].sort((one, other) => turn(one) - turn(other));
const turn = ({ dataset: { name } }) => Number(name.split("/")[1]) + (name.startsWith("rank/") ? 100 : 0);
const ranked = () => groups().filter((group) => group.dataset.name.startsWith("rank/"));
const answer = (group) => group.querySelector("input:checked")?.value ?? null;

function mark(group) {
  for (const each of groups()) {
    const current = each === group;
    each.classList.toggle("k-current", current);
    for (const box of each.querySelectorAll("input")) current ? (box.dataset.key = box.value) : delete box.dataset.key;
  }
  group?.scrollIntoView({ block: "nearest" });
  showOrder();
}

function markNext(after) {
  const all = groups();
  const rest = [...all.slice(all.indexOf(after) + 1), ...all];
  mark(rest.find((group) => answer(group) === null) ?? after ?? all[0]);
}

function step(by) {
  const all = groups();
  const place = all.findIndex((group) => group.classList.contains("k-current"));
  if (all.length) mark(all[(place + by + all.length) % all.length]);
}

function showOrder() {
  const box = find(".k-order");
  if (!box) return;
  showBoard();
  const places = new Map();
  ranked().forEach((group, n) => {
    const rank = answer(group);
    if (rank !== null) places.set(rank, [...(places.get(rank) ?? []), "ABCDEFGH"[n]]);
  });
  box.value = [...places].sort(([one], [other]) => one - other).map(([, letters]) => letters.join(" = ")).join(" > ");
}

// Passages that are marked: of the raw text, whose characters are those that are stored.
const raws = () => [...element.querySelectorAll(".k-response")].map((box) => [...box.querySelectorAll(".k-as-is pre")].at(-1));
const points = (text) => Array.from(text).length; // Python counts characters, JavaScript their halves
const marked = () => JSON.parse(find("[name=spans]")?.value || "[]");

function setMarks(spans) {
  find("[name=spans]").value = JSON.stringify(spans.some((of) => of?.length) ? spans : []);
  showMarks();
  keepDraft();
}

function markSelection(button) {
  if (!app().classList.contains("k-show-raw")) toggle("raw");
  const chosen = getSelection();
  const range = chosen.rangeCount && !chosen.isCollapsed ? chosen.getRangeAt(0) : null;
  const place = raws().findIndex((raw) => range && raw.contains(range.startContainer) && raw.contains(range.endContainer));
  if (place < 0) return note(word("Select a passage of one response in the raw text first"), true);
  const before = document.createRange();
  before.setStart(raws()[place], 0);
  before.setEnd(range.startContainer, range.startOffset);
  const start = points(before.toString());
  const text = range.toString();
  const spans = marked();
  while (spans.length < raws().length) spans.push([]);
  spans[place].push({ start, end: start + points(text), text, label: button.dataset.mark, note: "" });
  chosen.removeAllRanges();
  setMarks(spans);
}

function rangeOf(raw, { start, end }) {
  const units = (n) => Array.from(raw.textContent).slice(0, n).join("").length;
  const range = document.createRange();
  range.setStart(raw.firstChild, units(start));
  range.setEnd(raw.firstChild, units(end));
  return range;
}

function showMarks() {
  const list = find(".k-marks");
  if (!list) return;
  const ranges = [];
  list.replaceChildren();
  marked().forEach((of, place) => of.forEach((mark, n) => {
    const row = document.createElement("li");
    const where = raws().length > 1 ? `${"ABCDEFGH"[place]}: ` : "";
    row.append(`${where}${mark.label} `, Object.assign(document.createElement("q"), { textContent: mark.text.slice(0, 80) }));
    const wording = { type: "text", value: mark.note, maxLength: 500, placeholder: word("note (optional)"), ariaLabel: word("Note on %s", mark.text.slice(0, 40)) };
    const field = Object.assign(document.createElement("input"), wording);
    field.addEventListener("change", () => setMarks(marked().map((each, p) => each.map((m, k) => (p === place && k === n ? { ...m, note: field.value } : m)))));
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "k-quiet", textContent: word("Remove") });
    remove.addEventListener("click", () => setMarks(marked().map((each, p) => each.filter((_, k) => p !== place || k !== n))));
    row.append(" ", field, remove);
    list.append(row);
    if (raws()[place]?.firstChild) ranges.push(rangeOf(raws()[place], mark));
  }));
  if (globalThis.CSS?.highlights) CSS.highlights.set("k-mark", new Highlight(...ranges));
}

// Verdicts on single turns of the conversation: radio buttons of the form, beside each turn.
const turnBoxes = () => [...element.querySelectorAll(".k-turn-verdict")];
const ofTurn = (box) => box.querySelector("input:checked")?.value ?? null;
const turnVerdicts = () => Object.fromEntries(turnBoxes().map((box) => [box.dataset.turn, ofTurn(box)]).filter(([, label]) => label !== null));

function toTurn() {
  const box = turnBoxes().find((each) => ofTurn(each) === null) ?? turnBoxes()[0];
  box?.scrollIntoView({ block: "nearest" });
  (box?.querySelector("input:checked") ?? box?.querySelector("input"))?.focus();
}

// The parts of a verdict that the controls of a kind hold.
const CONTENT = {
  rated: (said) => {
    said.ratings = [];
    for (const group of groups().filter((each) => !ranked().includes(each))) {
      const [, place, name] = group.dataset.name.split("/");
      if (answer(group) !== null) (said.ratings[place] ??= {})[name] = Number(answer(group));
      else said.ratings[place] ??= {};
    }
    if (ranked().length) CONTENT.ranked(said);
  },
  written: (said) => (said.text = find("[name=text]").value),
  ranked: (said) => (said.ranks = ranked().map((group) => (answer(group) === null ? null : Number(answer(group))))),
};

function showPreview(html) {
  find("[data-act=preview]")?.setAttribute("aria-pressed", String(html !== null));
  app().classList.toggle("k-show-preview", html !== null);
  const box = find(".k-preview");
  if (box) box.innerHTML = html ?? "";
}

async function preview() {
  if (app().classList.contains("k-show-preview")) return showPreview(null);
  if (element.querySelector(".k-difference")) await difference();
  const reply = await ask("preview", { text: find("[name=text]").value });
  if (Array.isArray(reply?.html)) showPreview(reply.html[0]);
}

async function write() {
  showPreview(null);
  if (element.querySelector(".k-difference")) await difference();
  find("[name=text]").focus();
}

