// One search: parallel coordinates, a scatter and a table of the same trials. Sort, filters and the key live in the address.

import { path } from "../api.js";
import { parallelChart } from "../charts/parallel.js";
import { scatterChart } from "../charts/scatter.js";
import { find, h, pageData } from "../dom.js";
import { number } from "../format.js";
import { choose, chosen } from "../url.js";

const METRIC = "\u0000metric"; // no recipe key's name
const BRUSH = /^(.+)~([0-9.]+)~([0-9.]+)$/;

let data = null;
let drawn = "";
let charts = [];
let rows = [];
const brushes = new Map();

const nameOf = (key) => (key === METRIC ? data.metric : key);
const show = (value) => (typeof value === "number" ? number(value) : value === null || value === undefined ? "–" : String(value));

/** Rows of all trials, with the metric as one more value, and their rank by it: 1 is the best. */
function makeRows() {
  const measured = data.trials.filter((trial) => trial.value !== null).sort((a, b) => a.value - b.value);
  const ranks = new Map(measured.map((trial, place) => [trial.trial, measured.length === 1 ? 1 : place / (measured.length - 1)]));
  const top = measured.at(-1)?.trial;
  return data.trials.map((trial) => ({
    ...trial,
    id: trial.trial,
    best: data.trials.some((one) => one.best) ? trial.best : trial.trial === top,
    rank: ranks.get(trial.trial) ?? null,
    values: { ...trial.values, [METRIC]: trial.value },
    title: [`Trial ${trial.trial}: ${data.metric} ${show(trial.value)}`, ...data.keys.map((key) => `${key} ${show(trial.values[key])}`)].join("\n"),
  }));
}

function draw() {
  data = pageData("trials-data");
  rows = makeRows();
  const axes = [...data.keys.map((key) => ({ key, label: key, byMagnitude: data.magnitudes.includes(key) })), { key: METRIC, label: data.metric, strong: true }];
  const parallel = parallelChart(find("#parallel"), { axes, rows, brushes, onBrush: brush, onHover: highlight, onOpen: open });
  charts = [parallel];
  drawScatter();
  drawTable();
  applyFilter();
}

function drawScatter() {
  const picker = find("#key");
  const [wanted] = chosen("key");
  if (data.keys.includes(wanted)) picker.value = wanted;
  const key = picker.value || data.keys[0];
  find("#none-yet").hidden = rows.some((row) => row.value !== null);
  const points = rows.map((row) => ({ ...row, x: row.values[key], y: row.value }));
  charts[1] = scatterChart(find("#scatter"), { rows: points, xLabel: key, yLabel: data.metric, byMagnitude: data.magnitudes.includes(key), onHover: highlight });
}

/** `[key, descending]` of the address; else as the server has them: who came farthest first. */
function sorting() {
  const [text] = chosen("sort");
  return text ? [text.replace(/^-/, ""), text.startsWith("-")] : [null, false];
}

const COLUMNS = () => [
  { name: "trial", title: "Trial", value: (row) => row.trial, numeric: true },
  ...data.keys.map((key) => ({ name: `value.${key}`, title: key, value: (row) => row.values[key], numeric: rows.every((row) => typeof (row.values[key] ?? 0) === "number") })),
  { name: "metric", title: data.metric, value: (row) => row.value, numeric: true },
  { name: "rung", title: "Rung", value: (row) => row.rung, numeric: true },
  { name: "state", title: "State", value: (row) => row.state },
];

function drawTable() {
  const [by, descending] = sorting();
  const columns = COLUMNS();
  const column = columns.find((one) => one.name === by);
  const heads = columns.map((one) =>
    h("th", { scope: "col", class: one.numeric ? "number" : null, "aria-sort": one === column ? (descending ? "descending" : "ascending") : null }, h("button", { type: "button", class: "sort", onclick: () => sortBy(one.name) }, one.title, one === column ? (descending ? " ↓" : " ↑") : "")),
  );
  find("#trials thead tr").replaceChildren(...heads, h("th", { scope: "col" }, "Job"));
  const sorted = column ? [...rows].sort((a, b) => compare(column.value(a), column.value(b)) * (descending ? -1 : 1)) : rows;
  find("#trials tbody").replaceChildren(...sorted.map((row) => drawRow(row, columns)));
}

const TONES = { succeeded: "good", running: "busy", publishing: "busy", rejected: "warn", failed: "bad" };

function drawRow(row, columns) {
  const cells = columns.map((one) => {
    if (one.name === "trial") return h("td", { class: "number" }, row.best ? h("span", { class: "badge good plain" }, "best") : null, ` ${row.trial}`);
    if (one.name === "state") return h("td", {}, h("span", { class: `badge ${TONES[row.state] ?? ""}` }, row.state));
    return h("td", { class: one.numeric ? "number" : null }, show(one.value(row)));
  });
  const job = row.job ? h("a", { href: path("jobs", row.job) }, row.version ? `version ${row.version}` : "open") : "–";
  return h("tr", { "data-trial": row.id, class: row.best ? "best" : null, onpointerenter: () => highlight(row.id), onpointerleave: () => highlight(null) }, cells, h("td", {}, job));
}

/** What is missing goes last, whichever way. */
function compare(a, b) {
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1;
  if (b === null || b === undefined) return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function sortBy(name) {
  const [by, descending] = sorting();
  const numbersFirst = name === "metric" || name === "rung";
  choose("sort", by === name ? (descending === numbersFirst ? (numbersFirst ? name : `-${name}`) : null) : numbersFirst ? `-${name}` : name);
  drawTable();
  applyFilter();
  [...document.querySelectorAll("#trials .sort")].find((button) => button.textContent.startsWith(COLUMNS().find((one) => one.name === name).title))?.focus();
}

function highlight(id) {
  for (const chart of charts) chart.highlight(id);
  for (const row of document.querySelectorAll("#trials tbody tr")) row.classList.toggle("on", row.dataset.trial === String(id));
}

function open(id) {
  document.querySelector(`#trials tr[data-trial="${CSS.escape(String(id))}"]`)?.scrollIntoView({ block: "center" });
}

function brush(key, range, isFinal) {
  if (range) brushes.set(key, range);
  else brushes.delete(key);
  applyFilter();
  if (isFinal) choose("brush", [...brushes].map(([name, [low, high]]) => `${name === METRIC ? "" : name}~${low.toFixed(3)}~${high.toFixed(3)}`.replace(/^~/, "metric:~")));
}

function readBrushes() {
  brushes.clear();
  for (const text of chosen("brush")) {
    const [, name, low, high] = BRUSH.exec(text) ?? [];
    const key = name === "metric:" ? METRIC : name;
    if (key && (key === METRIC || data.keys.includes(key)) && Number(low) < Number(high)) brushes.set(key, [Number(low), Number(high)]);
  }
}

function applyFilter() {
  const { scales } = charts[0];
  const kept = rows.filter((row) =>
    [...brushes].every(([key, [low, high]]) => {
      const share = scales.get(key)?.position(row.values[key]);
      return share !== null && share !== undefined && share >= low - 1e-6 && share <= high + 1e-6;
    }),
  );
  const ids = new Set(kept.map((row) => String(row.id)));
  for (const chart of charts) chart.filter(ids);
  for (const row of document.querySelectorAll("#trials tbody tr")) row.hidden = !ids.has(row.dataset.trial);
  const filters = [...brushes.keys()].map(nameOf).join(" and ");
  find("#shown").textContent = brushes.size ? `${kept.length} of ${rows.length} trials, filtered by ${filters}` : `${rows.length} trials`;
}

/** Draws anew only if something came. */
function update() {
  const text = document.getElementById("trials-data").dataset.json;
  if (text === drawn) return;
  drawn = text;
  const focused = document.activeElement?.closest?.("[data-axis]")?.dataset.axis;
  draw();
  if (focused) document.querySelector(`[data-axis="${CSS.escape(focused)}"] .grip`)?.focus({ preventScroll: true });
}

data = pageData("trials-data");
readBrushes();
update();
document.addEventListener("refreshed", update);
document.addEventListener("before-refresh", (event) => event.target.querySelector("dialog[open]") && event.preventDefault());
find("#key").addEventListener("change", (event) => {
  choose("key", event.target.value);
  drawScatter();
  applyFilter();
});
let width = find("#parallel").clientWidth;
new ResizeObserver(() => {
  if (find("#parallel").clientWidth === width) return;
  width = find("#parallel").clientWidth;
  draw();
}).observe(find("#parallel"));
addEventListener("popstate", () => {
  readBrushes();
  draw();
});
