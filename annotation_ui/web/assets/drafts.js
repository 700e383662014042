// What is written and chosen but not yet sent.
const DRAFT_MS = 1500; // from the last key to the draft on the server

// A browser may forbid storage; then nothing is kept.
function store(place, key, value) {
  try {
    if (value === null) place.removeItem(key);
    else place.setItem(key, value);
  } catch {}
}

function load(place, key) {
  try {
    return place.getItem(key);
  } catch {
    return null;
  }
}

// What is written and chosen but not yet sent is kept in this tab until the verdict is in.
const draftKey = () => (find(".k-main")?.dataset.draft ? `keel.draft/${app().dataset.project}/${find(".k-main").dataset.draft}` : null);

function keepDraft() {
  const form = find(".k-verdict");
  const key = draftKey();
  if (!form || !key) return;
  const fields = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    const choice = field.matches("[type=checkbox], [type=radio]");
    if (!choice) fields[field.name] = field.value;
    else (fields[field.name] ??= []).push(...(field.checked ? [field.value] : []));
  }
  store(sessionStorage, key, JSON.stringify(fields));
}

function restoreDraft() {
  const kept = draftKey() && load(sessionStorage, draftKey());
  if (!kept) return;
  const fields = JSON.parse(kept);
  for (const field of find(".k-verdict").elements) {
    const value = fields[field.name];
    if (Array.isArray(value)) field.checked = value.includes(field.value);
    else if (typeof value === "string") field.value = value;
  }
}

// What is written is kept on the server while the item is in hand; in this tab as well until the server has it.
let keeping = 0;

function keepText() {
  const field = find("[name=text]");
  clearTimeout(keeping);
  if (!field?.dataset.sent) return; // a text of the past is edited: it is kept in this tab alone
  say("");
  keeping = setTimeout(async () => {
    const { project } = app().dataset;
    const text = field.value;
    const reply = await server.act({ action: "draft", project, token: field.dataset.sent, text, language: language() }).catch(() => null);
    if (!field.isConnected || field.value !== text) return;
    if (reply && !reply.error) dropText();
    say(reply && !reply.error ? word("Draft saved") : (reply?.error ?? word("Not saved on the server yet")));
  }, DRAFT_MS);
}

function dropText() {
  const kept = load(sessionStorage, draftKey());
  if (!kept) return;
  const { text, ...fields } = JSON.parse(kept);
  store(sessionStorage, draftKey(), JSON.stringify(fields));
}

function say(text) {
  const box = find(".k-kept");
  if (box) box.textContent = text;
}
