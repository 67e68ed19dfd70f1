// Line charts that grow: what is zoomed, hidden or pointed at stays while new values come. On uPlot.

import { h } from "../dom.js";
import { number } from "../format.js";
import { colour } from "../theme.js";

const FADED = 0.15;
const TABLE_ROWS = 200;
const TIP_ROWS = 8;
let loading = null;

/** uPlot, which is a classic script, and its style sheet. */
function loadUPlot() {
  loading ??= Promise.all([addFile("link", { rel: "stylesheet" }, "href", "uPlot.css"), addFile("script", {}, "src", "uPlot.js")]).then(() => window.uPlot);
  return loading;
}

function addFile(tag, attributes, place, name) {
  const source = new URL(`../../vendor/${name}`, import.meta.url).href;
  return new Promise((resolve, reject) => {
    document.head.append(h(tag, { ...attributes, [place]: source, onload: resolve, onerror: () => reject(new Error("the charts could not be loaded")) }));
  });
}

/** One colour per run or series, the same wherever its key is shown; `order` tells apart those of one chart. */
export const runColour = (order) => `--run-${(order % 8) + 1}`;

/**
 * A chart in an element.
 *
 * `series`: `[{label, token: "--run-1", dashed, width, band: [lowIndex, highIndex], key, group, faint, points}]`; `x`:
 * `{label, time: false, format, whole}` (`whole`: ticks at whole numbers); `y`: `{label, log: false, zero: false}`; `format`: of values; `height`: pixels;
 * `onZoom(min, max)`: null for the whole; `hidden`: keys of series that are not drawn; `onFocus(group)`: of the line
 * that is pointed at, or null; `marks`: vertical lines, `[{x, label}]` (`marked`: there will be some); `legend`: false where the page has its own.
 * Returns `{set(columns), zoom(min, max), destroy(), change({series, y, x, hidden, marks}, columns), focus(group)}`;
 * `columns` are uPlot's: x, then one array per series, with null for gaps. Lines go over the gaps of a series whose
 * `sparse` is true: its x are only some of the chart's.
 */
export async function lineChart(element, options) {
  const UPlot = await loadUPlot();
  const now = { x: {}, y: {}, format: number, height: 260, onZoom: null, onFocus: null, title: "", hidden: new Set(), marks: [], legend: true, ...options };
  let chart = null;
  let columns = [[], ...now.series.map(() => [])];
  let zoomed = null;
  let focused = null;
  let muted = "";
  const tip = h("div", { class: "chart-tip", hidden: true });
  const table = h("details", { class: "chart-table" }, h("summary", { class: "help" }, "Show as table"));
  const place = h("div", { class: "chart", role: "img", "aria-label": now.title || now.series.map((one) => one.label).join(", ") }, tip);
  element.replaceChildren(place, table);

  const showX = (value) => (value === null || value === undefined ? "–" : now.x.format ? now.x.format(value) : now.x.time ? clockTime(value) : number(value));

  function build() {
    chart?.destroy();
    muted = colour("--muted");
    const axis = { stroke: muted, grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: `12px ${getComputedStyle(document.body).fontFamily}` };
    const xAxis = { ...axis, ...(now.x.time ? { values: clockTimes, space: 76 } : { label: now.x.label, labelSize: now.x.label ? 20 : 0 }), ...(now.x.whole ? { incrs: wholeSteps } : {}), ...(now.x.format ? { values: (_, values) => values.map(now.x.format) } : {}) };
    const log = Boolean(now.y.log);
    chart = new UPlot(
      {
        width: Math.max(place.clientWidth, 200),
        height: now.height,
        padding: [now.marks.length || now.marked ? 18 : null, null, null, null],
        scales: { x: { time: Boolean(now.x.time) }, y: { distr: log ? 3 : 1, ...(now.y.zero ? { range: fromZero } : {}) } },
        axes: [xAxis, { ...axis, label: now.y.label, labelSize: now.y.label ? 20 : 0, size: 56, values: (_, values) => values.map((value) => (value === null ? "" : now.format(value))) }],
        series: [{ label: now.x.label ?? "x", value: (_, value) => showX(value) }, ...now.series.map(describeSeries)],
        bands: now.series.flatMap((one, index) => (one.band ? [{ series: one.band.map((other) => other + 1), fill: fade(colour(one.token ?? runColour(index))) }] : [])),
        focus: { alpha: 1 },
        cursor: { focus: { prox: 24 }, points: { size: 7 }, drag: { x: true, y: false, setScale: true }, dataIdx: nearest },
        legend: { show: now.legend, live: false, markers: { fill: (_, index) => (now.series[index - 1]?.dashed ? null : colour(now.series[index - 1]?.token ?? runColour(index - 1))) } },
        hooks: {
          setScale: [(_, scale) => scale === "x" && rememberZoom()],
          setSeries: [(_, index, change) => change.focus !== undefined && pointAt(index)],
          setCursor: [writeTip],
          draw: [drawMarks],
        },
      },
      columns,
      place,
    );
    if (zoomed) chart.setScale("x", zoomed);
    fadeOthers({ draw: false }); // uPlot draws when its scales are known
  }

  function describeSeries(one, index) {
    const stroke = colour(one.token ?? runColour(index));
    const show = one.points ?? ((_, __, from, to) => to - from < 3);
    return { label: one.label, show: !now.hidden.has(one.key ?? one.label), stroke: one.faint ? fade(stroke, 0.45) : stroke, width: one.width ?? 2, dash: one.dashed ? [6, 4] : undefined, points: { show }, spanGaps: Boolean(one.sparse), value: (_, value) => now.format(value) };
  }

  /** The place of a series' value that is nearest to the pointer: a series may have values at some x only. */
  function nearest(self, index, hovered, at) {
    const values = columns[index];
    if (!index || hovered === null || (values[hovered] ?? null) !== null) return hovered;
    let [before, after] = [hovered, hovered];
    while (before >= 0 && (values[before] ?? null) === null) before--;
    while (after < values.length && (values[after] ?? null) === null) after++;
    if (before < 0 || after >= values.length) return before < 0 ? (after < values.length ? after : null) : before;
    return at - columns[0][before] < columns[0][after] - at ? before : after;
  }

  function rememberZoom() {
    if (!chart) return;
    const [first, last] = [columns[0][0], columns[0].at(-1)];
    const { min, max } = chart.scales.x;
    if (zoomed && min === zoomed.min && max === zoomed.max) return;
    const next = min === null || first === undefined || (min <= first && max >= last) ? null : { min, max };
    const changed = next?.min !== zoomed?.min || next?.max !== zoomed?.max;
    zoomed = next;
    if (changed) now.onZoom?.(zoomed?.min ?? null, zoomed?.max ?? null);
  }

  const groupOf = (index) => now.series[index - 1]?.group ?? now.series[index - 1]?.key ?? null;

  function pointAt(index) {
    const group = index === null ? null : groupOf(index);
    if (group === focused) return;
    focused = group;
    fadeOthers();
    now.onFocus?.(group);
  }

  function fadeOthers({ draw = true } = {}) {
    if (!chart) return;
    for (let index = 1; index < chart.series.length; index++) chart.series[index].alpha = focused === null || groupOf(index) === focused ? 1 : FADED;
    if (draw && columns[0].length) chart.redraw(false, false);
  }

  const isOn = ({ index }) => focused !== null && groupOf(index + 1) === focused;

  function writeTip() {
    const { left, top, idx, idxs } = chart.cursor;
    tip.hidden = left < 0 || idx === null || idx === undefined;
    if (tip.hidden) return;
    const rows = now.series
      .map((one, index) => ({ one, index, value: columns[index + 1][idxs[index + 1] ?? -1] ?? null }))
      .filter(({ one, value, index }) => value !== null && chart.series[index + 1].show && !one.silent)
      .sort((a, b) => isOn(b) - isOn(a) || b.value - a.value);
    const shown = rows.slice(0, TIP_ROWS);
    tip.replaceChildren(
      h("strong", {}, `${now.x.label ?? "x"} ${showX(columns[0][idx])}`),
      ...shown.map(({ one, index, value }) => {
        const dot = h("i", { "aria-hidden": "true" });
        dot.style.setProperty("--dot", `var(${one.token ?? runColour(index)})`);
        return h("div", { class: isOn({ index }) ? "row on" : "row" }, dot, h("span", {}, one.label), h("b", {}, now.format(value)));
      }),
      rows.length > shown.length ? h("small", {}, `and ${rows.length - shown.length} more`) : null,
    );
    const offset = chart.bbox.left / devicePixelRatio + left;
    const right = offset > place.clientWidth / 2;
    tip.style.setProperty("left", right ? "auto" : `${offset + 14}px`);
    tip.style.setProperty("right", right ? `${place.clientWidth - offset + 14}px` : "auto");
    tip.style.setProperty("top", `${Math.max(0, Math.min(top, now.height - tip.offsetHeight - 30))}px`);
  }

  function drawMarks(self) {
    const { ctx, bbox } = self;
    for (const mark of now.marks) {
      const at = Math.round(self.valToPos(mark.x, "x", true));
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = muted;
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
      ctx.font = `${11 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
      const left = at + 90 * devicePixelRatio > bbox.left + bbox.width;
      ctx.textAlign = left ? "right" : "left";
      ctx.fillText(mark.label, at, bbox.top - 5 * devicePixelRatio); // above the lines, whatever their shape
      ctx.restore();
    }
  }

  function writeTable() {
    if (!table.open) return;
    const told = now.series.map((one, index) => [one, columns[index + 1]]).filter(([one]) => !one.silent);
    const head = h("tr", {}, h("th", { scope: "col" }, now.x.label ?? "x"), told.map(([one]) => h("th", { scope: "col", class: "number" }, one.label)));
    const first = Math.max(columns[0].length - TABLE_ROWS, 0);
    const rows = columns[0].slice(first).map((value, row) => h("tr", {}, h("td", {}, showX(value)), told.map(([, column]) => h("td", { class: "number" }, now.format(column[first + row])))));
    const note = first ? h("p", { class: "help" }, `The newest ${TABLE_ROWS} of ${columns[0].length} rows.`) : null;
    table.replaceChildren(table.firstChild, ...(note ? [note] : []), h("div", { class: "scroll", tabindex: "0" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows))));
  }

  function put(next) {
    columns = next;
    const keep = zoomed;
    chart.setData(next, !keep);
    if (keep) chart.setScale("x", keep);
    writeTable();
  }

  const resized = new ResizeObserver(() => chart && place.clientWidth && chart.setSize({ width: place.clientWidth, height: now.height }));
  const rebuild = () => build();
  resized.observe(place);
  document.addEventListener("theme", rebuild);
  table.addEventListener("toggle", writeTable);
  build();

  return {
    set: put,
    zoom(min, max) {
      zoomed = min === null ? null : { min, max };
      if (zoomed) chart.setScale("x", zoomed);
      else chart.setData(columns, true);
    },
    /** Other lines, another scale, other marks; zoom and focus stay. */
    change(next, columns_) {
      Object.assign(now, next);
      columns = columns_ ?? columns;
      build();
      writeTable();
    },
    /** Marks only: drawn at the next `set`. */
    mark(marks) {
      now.marks = marks;
    },
    /** Fades all lines but those of a group; null for none. */
    focus(group) {
      if (group === focused) return;
      focused = group;
      fadeOthers();
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

/** Steps between ticks: whole ones, unless the reader looks into one. */
function wholeSteps(self, axis, min, max) {
  const parts = max - min < 1 ? [0.01, 0.02, 0.05, 0.1, 0.2, 0.5] : [];
  return [...parts, ...[1, 10, 100, 1000, 10_000, 100_000].flatMap((size) => [size, 2 * size, 5 * size])];
}

function fade(rgb, alpha = 0.15) {
  return rgb.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
}
