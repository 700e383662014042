// The keyboard.
const UNSEEN_MS = 350; // a verdict key this soon after an item appeared was meant for the one before
const VERDICT = ".k-verdict [data-label], .k-verdict [data-act=unsafe], .k-verdict [data-act=confirm-unsafe]";

function ofKey(key) {
  // The innermost open panel owns the keys.
  for (const scope of ["#k-skip:not([hidden])", "#k-harms:not([hidden])", ".k-app"]) {
    const panelNode = find(scope);
    if (!panelNode) continue;
    if (scope.startsWith("#k-harms") && key === "enter") return find("[data-act=confirm-unsafe]");
    const hit = [...panelNode.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find(visible);
    if (hit || scope !== ".k-app") return hit;
  }
  return null;
}

function escape() {
  for (const id of ["#k-skip", "#k-harms"]) {
    if (find(`${id}:not([hidden])`)) return panel(id, false);
  }
  const list = find("[data-act=next-case]")?.dataset.fields;
  if (list) ask("items", { fields: JSON.parse(list) });
  else if (["case", "reading"].includes(app().dataset.page)) ask("review");
  else if (app().dataset.page === "snapshot") ask("dashboard");
  else if (app().dataset.page !== "annotate" || find(".k-main").dataset.judgement) ask("annotate");
}

function onKey(event) {
  if (app() && !busy && event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("[name=text]")) {
    return find(".k-verdict [data-key=enter]")?.click();
  }
  if (!app() || event.repeat || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || document.hidden) return;
  const typing = event.target.matches("textarea, select, input:not([type=checkbox]):not([type=radio])");
  const help = find(".k-help");
  if (help?.open || busy) return;
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = event.key.toLowerCase();
  const act = {
    escape,
    "?": ACTS.help,
    h: () => ask("history"),
    v: toTurn,
    n: () => find("[name=rationale]")?.focus(),
    t: () => element.querySelectorAll(".k-think").forEach((box) => (box.open = !box.open)),
    ".": () => find("[data-act=next-case]")?.click(),
    u: () => find("[data-act=undo]:not([disabled])")?.click(),
  };
  const inPanel = find("#k-skip:not([hidden]), #k-harms:not([hidden])");
  if (key === "enter" && !inPanel && event.target.matches("button, summary, select")) return; // presses what has the focus
  if (!inPanel && (key === "arrowright" || key === "arrowleft") && groups().length && !event.target.matches("input, pre")) {
    event.preventDefault();
    return step(key === "arrowright" ? 1 : -1); // answers run from left to right in every language
  }
  const button = ofKey(key);
  if (button) {
    event.preventDefault();
    if (button.matches(`${VERDICT}, .k-rate input`) && performance.now() - appeared < UNSEEN_MS) return;
    button.click();
  } else if (act[key] && (!inPanel || key === "escape" || key === "?")) {
    event.preventDefault();
    act[key]();
  }
}

document.addEventListener("keydown", onKey);
