// Line charts that grow: what is zoomed, hidden or pointed at stays while new values come. On uPlot.

import { h } from "../dom.js";
import { number } from "../format.js";
import { colour } from "../theme.js";

let loading = null;

/** uPlot, which is a classic script. */
function loadUPlot() {
  loading ??= new Promise((resolve, reject) => {
    const source = new URL("../../vendor/uPlot.js", import.meta.url);
    document.head.append(h("script", { src: source.href, onload: () => resolve(window.uPlot), onerror: () => reject(new Error("the charts could not be loaded")) }));
  });
  return loading;
}

/** One colour per run or series, the same wherever its key is shown; `order` tells apart those of one chart. */
export const runColour = (order) => `--run-${(order % 8) + 1}`;

/**
 * A chart in an element.
 *
 * `series`: `[{label, token: "--run-1", dashed, width, band: [lowIndex, highIndex]}]`; `x`: `{label, time: false}`;
 * `y`: `{label, log: false, zero: false}`; `format`: of values; `height`: pixels; `onZoom(min, max)`: null for the whole.
 * Returns `{set(columns), zoom(min, max), destroy()}`; `columns` are uPlot's: x, then one array per series, with null for gaps.
 */
export async function lineChart(element, { series, x = {}, y = {}, format = number, height = 260, onZoom = null, title = "" }) {
  const UPlot = await loadUPlot();
  let chart = null;
  let columns = [[], ...series.map(() => [])];
  let zoomed = null;
  const table = h("details", { class: "chart-table" }, h("summary", { class: "help" }, "Show as table"));
  const place = h("div", { class: "chart", role: "img", "aria-label": title || series.map((one) => one.label).join(", ") });
  element.replaceChildren(place, table);

  function build() {
    chart?.destroy();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: `12px ${getComputedStyle(document.body).fontFamily}` };
    chart = new UPlot(
      {
        width: Math.max(place.clientWidth, 200),
        height,
        scales: { x: { time: Boolean(x.time) }, y: { distr: y.log ? 3 : 1, ...(y.zero ? { range: fromZero } : {}) } },
        axes: [{ ...axis, ...(x.time ? { values: clockTimes } : { label: x.label, labelSize: x.label ? 20 : 0 }) }, { ...axis, label: y.label, labelSize: y.label ? 20 : 0, size: 56, values: (_, values) => values.map((value) => (value === null ? "" : format(value))) }],
        series: [{ label: x.label ?? "x", value: (_, value) => (value === null ? "–" : x.time ? clockTime(value) : number(value)) }, ...series.map(describeSeries)],
        bands: series.flatMap((one, index) => (one.band ? [{ series: one.band.map((other) => other + 1), fill: fade(colour(series[index].token ?? runColour(index))) }] : [])),
        focus: { alpha: 0.25 },
        cursor: { focus: { prox: 24 }, points: { size: 7 }, drag: { x: true, y: false, setScale: true } },
        legend: { live: true },
        hooks: { setScale: [(_, scale) => scale === "x" && rememberZoom()] },
      },
      columns,
      place,
    );
    if (zoomed) chart.setScale("x", zoomed);
  }

  function describeSeries(one, index) {
    const stroke = colour(one.token ?? runColour(index));
    return { label: one.label, stroke, width: one.width ?? 2, dash: one.dashed ? [6, 4] : undefined, points: { show: (_, __, from, to) => to - from < 3 }, spanGaps: false, value: (_, value) => format(value) };
  }

  function rememberZoom() {
    if (!chart) return;
    const [first, last] = [columns[0][0], columns[0].at(-1)];
    const { min, max } = chart.scales.x;
    zoomed = min === null || (min <= first && max >= last) ? null : { min, max };
    onZoom?.(zoomed?.min ?? null, zoomed?.max ?? null);
  }

  function writeTable() {
    if (!table.open) return;
    const head = h("tr", {}, h("th", { scope: "col" }, x.label ?? "x"), series.map((one) => h("th", { scope: "col", class: "number" }, one.label)));
    const rows = columns[0].slice(-200).map((value, row) => {
      const place = Math.max(columns[0].length - 200, 0) + row;
      return h("tr", {}, h("td", {}, x.time ? clockTime(value) : number(value)), columns.slice(1).map((column) => h("td", { class: "number" }, format(column[place]))));
    });
    table.replaceChildren(table.firstChild, h("div", { class: "scroll", tabindex: "0" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows))));
  }

  const resized = new ResizeObserver(() => chart && place.clientWidth && chart.setSize({ width: place.clientWidth, height }));
  const rebuild = () => build();
  resized.observe(place);
  document.addEventListener("theme", rebuild);
  table.addEventListener("toggle", writeTable);
  build();

  return {
    set(next) {
      columns = next;
      const keep = zoomed;
      chart.setData(next, !keep);
      if (keep) chart.setScale("x", keep);
      writeTable();
    },
    zoom(min, max) {
      zoomed = min === null ? null : { min, max };
      if (zoomed) chart.setScale("x", zoomed);
      else chart.setData(columns, true);
    },
    destroy() {
      resized.disconnect();
      document.removeEventListener("theme", rebuild);
      chart.destroy();
    },
  };
}

const clockTime = (seconds) => new Date(seconds * 1000).toLocaleTimeString();

/** Hours and minutes below the axis, with seconds where they tell two of them apart. */
function clockTimes(_, splits, __, ___, step) {
  const shown = step % 60 ? { hour: "2-digit", minute: "2-digit", second: "2-digit" } : { hour: "2-digit", minute: "2-digit" };
  return splits.map((value) => (value === null ? "" : new Date(value * 1000).toLocaleTimeString([], { ...shown, hourCycle: "h23" })));
}

/** From zero to a little more than the largest value. */
const fromZero = (_, __, max) => [0, max > 0 ? max * 1.1 : 1];

function fade(rgb) {
  return rgb.replace("rgb(", "rgba(").replace(")", ", 0.15)");
}
