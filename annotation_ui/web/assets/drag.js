// Ranking by drag: a chip for every response is put on its place. The digits hold the answer; the chips only show it.
let dragged = null;

function showBoard() {
  const board = find(".k-board");
  if (!board || dragged) return;
  for (const place of board.querySelectorAll("[data-place]")) place.replaceChildren();
  ranked().forEach((group, n) => {
    const chip = Object.assign(document.createElement("span"), { className: `k-chip k-of k-of-${n}`, textContent: "ABCDEFGH"[n] });
    chip.dataset.chip = n;
    board.querySelector(`[data-place="${answer(group) ?? ""}"]`).append(chip);
  });
}

// Where every place is given once, a chip that stood there changes places with the one that is put down.
function putDown(n, rank) {
  const all = ranked();
  const before = answer(all[n]) ?? "";
  const once = find(".k-ranks").dataset.ties === "no" && rank !== "";
  const other = once ? all.findIndex((group, m) => m !== n && answer(group) === rank) : -1;
  choose(all[n], rank);
  if (other >= 0) choose(all[other], before);
  keepDraft();
  markNext(all[n]);
}

function choose(group, rank) {
  for (const box of group.querySelectorAll("input")) box.checked = box.value === rank;
}

const placeAt = ({ clientX, clientY }) => document.elementsFromPoint(clientX, clientY).find((node) => node.matches(".k-board [data-place]"));

function lift(event) {
  const chip = event.target.closest?.(".k-chip");
  if (!chip || event.button !== 0 || dragged) return;
  event.preventDefault();
  dragged = { chip, finger: event.pointerId, x: event.clientX, y: event.clientY };
  chip.setPointerCapture(event.pointerId);
  chip.classList.add("k-dragged");
}

const holds = (event) => dragged?.finger === event.pointerId; // another finger moves nothing

function drag(event) {
  if (!holds(event)) return;
  dragged.chip.style.transform = `translate(${event.clientX - dragged.x}px, ${event.clientY - dragged.y}px)`;
  const over = placeAt(event);
  for (const place of element.querySelectorAll(".k-board [data-place]")) place.classList.toggle("k-over", place === over);
}

function drop(event) {
  if (!holds(event)) return;
  const { chip } = dragged;
  const over = event.type === "pointerup" && chip.isConnected ? placeAt(event) : null;
  dragged = null;
  for (const place of element.querySelectorAll(".k-over")) place.classList.remove("k-over");
  if (over) putDown(Number(chip.dataset.chip), over.dataset.place);
  else showBoard();
}

element.addEventListener("pointerdown", lift);
element.addEventListener("pointermove", drag);
element.addEventListener("pointerup", drop);
element.addEventListener("pointercancel", drop);

