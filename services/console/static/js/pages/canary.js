// A canary's page: the path of each comparison's evidence, and the bound that decides.

import { lineChart } from "../charts/line_chart.js";
import { pageData } from "../dom.js";
import { number } from "../format.js";
import { startRollout } from "../rollout.js";

const FLOOR = 0.01; // what is below says the same: nothing speaks against it
const CEILING = 10_000;
const CHARTS = [
  { id: "against", names: ["errors", "slow", "mistakes"], bound: "--bad", decides: "end it" },
  { id: "for", names: ["fit"], bound: "--good", decides: "promote it" },
];

const clip = (value) => Math.min(CEILING, Math.max(FLOOR, value));
const format = (value) => (value === null ? "–" : value <= FLOOR ? `≤ ${FLOOR}` : value >= CEILING ? `≥ ${number(CEILING)}` : number(value));

/** The path as columns: it begins with the canary, when nothing is known, and goes on until the last look. */
function columns(found, names) {
  const bounds = Object.fromEntries(found.comparisons.map((one) => [one.name, one.bound]));
  const start = { at: found.since, ...Object.fromEntries(names.map((name) => [name, 1])) };
  const last = found.path.at(-1);
  const points = last && found.looked_at > last.at ? [start, ...found.path, { ...last, at: found.looked_at }] : [start, ...found.path];
  const x = points.map((point) => new Date(point.at).getTime() / 1000);
  return [x, ...names.map((name) => points.map((point) => clip(point[name]))), points.map(() => bounds[names[0]] ?? null)];
}

async function draw(found, { id, names, bound, decides }) {
  const place = document.getElementById(id);
  const titles = Object.fromEntries(found.comparisons.map((one) => [one.name, one.title]));
  const lines = names.map((name) => ({ label: titles[name] ?? name, token: LINES[name] }));
  const chart = await lineChart(place, {
    series: [...lines, { label: `Bound: ${decides}`, token: bound, dashed: true }],
    x: { label: "", time: true },
    y: { label: "Evidence", log: true },
    format,
    height: 240,
    title: place.closest("figure").querySelector("h2").textContent,
  });
  return (next) => chart.set(columns(next, names));
}

let updates = null;

/** Draws when there is a canary: at once, or when one was started, or the ledger is back. */
async function show() {
  const found = pageData("evidence");
  document.getElementById("paths")?.toggleAttribute("hidden", !found);
  if (!found) return;
  updates ??= Promise.all(CHARTS.map((chart) => draw(found, chart)));
  for (const update of await updates) update(found);
}

const LINES = { errors: "--run-8", slow: "--run-2", mistakes: "--run-1", fit: "--run-3" }; // none like a bound

startRollout();
document.addEventListener("refreshed", show);
await show();
