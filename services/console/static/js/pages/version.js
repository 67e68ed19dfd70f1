// A version's page: what is picked is fetched in place and stays in the address; mistakes open in a viewer.

import { find, h } from "../dom.js";
import { number, percent } from "../format.js";
import { refresh } from "../refresh.js";

const PARTS = "#errors, #classes";
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

// --- what is picked ---

document.addEventListener("click", (event) => {
  const picked = event.target.closest("a[data-pick]");
  if (!picked || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  pick(picked).catch((error) => console.error(error));
});

async function pick(link) {
  history.pushState(null, "", link.href);
  await refresh(PARTS);
  rove();
  if (link.hash !== "#mistakes") return;
  const title = find("#mistakes-title");
  title.focus({ preventScroll: true });
  title.scrollIntoView({ block: "nearest" });
}

addEventListener("popstate", () => refresh(PARTS).then(rove));

// --- the confusion matrix: one stop of the Tab key, arrow keys inside ---

const cells = () => [...document.querySelectorAll(".matrix [data-cell]")];

function rove(chosen = null) {
  const all = cells();
  const current = chosen ?? all.find((cell) => cell.ariaCurrent) ?? all[0];
  for (const cell of all) cell.tabIndex = cell === current ? 0 : -1;
}

document.addEventListener("keydown", (event) => {
  const cell = event.target.closest?.(".matrix [data-cell]");
  const step = ARROWS[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  const next = findNext(cell.closest("td"), step);
  if (!next) return;
  rove(next);
  next.focus();
});

/** The nearest cell with mistakes in a direction: in the same row or column if there is one, so that each can be reached. */
function findNext(place, [down, right]) {
  const row = place.parentElement.rowIndex;
  let best = null;
  for (const link of cells()) {
    const found = link.closest("td");
    const [rows, columns] = [found.parentElement.rowIndex - row, found.cellIndex - place.cellIndex];
    const [along, across] = down ? [rows * down, Math.abs(columns)] : [columns * right, Math.abs(rows)];
    const distance = along + 100 * across;
    if (along > 0 && (!best || distance < best.distance)) best = { link, distance };
  }
  return best?.link ?? null;
}

// --- the viewer ---

const viewer = find("#viewer");
let opened = 0;
const mistakes = () => [...document.querySelectorAll("#mistakes [data-mistake]")];

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-mistake]");
  if (button) open(mistakes().indexOf(button));
});
find("#viewer-previous").addEventListener("click", () => open(opened - 1));
find("#viewer-next").addEventListener("click", () => open(opened + 1));
viewer.addEventListener("keydown", (event) => {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  event.preventDefault();
  open(opened + (event.key === "ArrowLeft" ? -1 : 1));
});
viewer.addEventListener("close", () => mistakes()[opened]?.focus());

function open(index) {
  const all = mistakes();
  if (!all[index]) return;
  opened = index;
  const mistake = JSON.parse(all[index].dataset.mistake);
  find("#viewer-title").textContent = `Mistake ${index + 1} of ${all.length}`;
  find("#viewer-previous").disabled = index === 0;
  find("#viewer-next").disabled = index === all.length - 1;
  find("#viewer-body").replaceChildren(showInput(mistake, all[index].querySelector("img")), showFacts(mistake));
  if (!viewer.open) viewer.showModal();
  if (!viewer.contains(document.activeElement) || document.activeElement.disabled) find("#viewer-title").focus();
}

function showInput({ input, example }, image) {
  if (input === null) return image ? h("img", { src: image.src, alt: `Example ${example}` }) : h("p", { class: "muted" }, "Its input is too large to be kept.");
  if (typeof input === "string") return h("pre", { class: "code" }, input);
  if (Array.isArray(input) || typeof input !== "object") return h("pre", { class: "code" }, JSON.stringify(input));
  const titles = JSON.parse(find("#mistakes").dataset.titles);
  return h("dl", { class: "facts" }, Object.entries(input).map(([name, value]) => [h("dt", {}, titles[name] ?? name), h("dd", {}, showValue(value))]));
}

function showValue(value) {
  if (value === null || value === "") return h("span", { class: "muted" }, "missing");
  if (typeof value?.png === "string") return h("img", { src: `data:image/png;base64,${value.png}`, alt: "" });
  return typeof value === "number" ? number(value) : describe(value);
}

/** A label, labels, a number, or numbers by name. */
function describe(value) {
  if (Array.isArray(value)) return value.length ? value.join(", ") : "nothing";
  if (value === null) return "–";
  if (typeof value === "object") return Object.entries(value).map(([name, one]) => `${name} ${number(one)}`).join(", ");
  return typeof value === "number" ? number(value) : String(value);
}

function showFacts({ example, expected, received, score }) {
  const facts = [["Right", describe(expected), "expected"], ["Answered", describe(received), "received"]];
  if (score !== null) facts.push(["Probability of its answer", percent(score)]);
  facts.push(["Example of the test split", number(example)]);
  return h("dl", { class: "facts" }, facts.map(([name, value, kind]) => [h("dt", {}, name), h("dd", { class: kind ?? null }, value)]));
}

// --- curves: the one that is pointed at, or chosen in the legend, stands out ---

function light(plot, line) {
  for (const curve of plot.querySelectorAll("polyline")) curve.classList.toggle("lit", curve.dataset.line === line);
}

for (const plot of document.querySelectorAll(".plot")) {
  const chosen = () => plot.querySelector('.key[aria-pressed="true"]')?.dataset.line ?? null;
  plot.addEventListener("pointerover", (event) => light(plot, event.target.closest("[data-line]")?.dataset.line ?? chosen()));
  plot.addEventListener("pointerleave", () => light(plot, chosen()));
  plot.addEventListener("click", (event) => {
    const key = event.target.closest(".key");
    if (!key) return;
    const pressed = key.getAttribute("aria-pressed") === "true";
    for (const other of plot.querySelectorAll(".key")) other.setAttribute("aria-pressed", String(other === key && !pressed));
    light(plot, chosen());
  });
}

rove();
