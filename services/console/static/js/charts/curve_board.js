// A chart for each metric of one or several jobs, with common choices above: they live in the page's address. Only
// charts in view are drawn; one that is zoomed, or pointed at, is so in all.

import { h } from "../dom.js";
import { number } from "../format.js";
import { duration } from "../time.js";
import { chosen, choose } from "../url.js";
import { LEARNING_RATE, listBands, listLines, listMetrics, makeColumns, makeSeries } from "./curves.js";
import { lineChart } from "./line_chart.js";

const SMOOTHINGS = [["0", "None"], ["0.5", "Some"], ["0.8", "More"], ["0.95", "Most"]];
const LINES = [["validation", "Validation"], ["training", "Training"]];
const FEW_EPOCHS = 3;

/**
 * `board(element, {jobs: [{id, label, token, curves}], seeds, onFocus})`; returns `{update(), focus(id), hideJob(id, hidden)}`.
 * The jobs' curves may be changed before `update()`.
 */
export function curveBoard(element, { jobs, seeds = [], onFocus = null }) {
  const charts = new Map(); // by metric: {figure, place, chart, shape, seen}
  const state = readState(seeds);
  const grid = h("div", { class: "curves" });
  const steps = check("Within epochs", false, (on) => change("steps", on ? "1" : "0", "steps", on ? "1" : "0"), "steps");
  const reset = h("button", { type: "button", class: "quiet", hidden: !state.zoom, onclick: () => zoomAll(null, null) }, "Reset zoom");
  element.replaceChildren(makeControls(), grid);

  const view = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const found = [...charts.values()].find(({ figure }) => figure === entry.target);
      if (!found) continue;
      found.seen = entry.isIntersecting;
      if (found.seen) draw(found);
    }
  }, { rootMargin: "200px" });

  function readState() {
    const [zoom] = chosen("zoom");
    const limits = zoom?.split("_").map(Number);
    return {
      smoothing: Number(chosen("smooth")[0] ?? 0) || 0,
      log: chosen("log")[0] === "1",
      by: chosen("x")[0] === "time" ? "time" : "epoch",
      seeds: chosen("seeds")[0] === "1",
      steps: chosen("steps")[0] ?? null, // "1", "0", or by itself: only while there are few epochs
      hidden: new Set(chosen("hide")),
      zoom: limits?.length === 2 && limits.every(Number.isFinite) ? limits : null,
    };
  }

  function makeControls() {
    const smoothing = h("select", { id: "smoothing", onchange: (event) => change("smoothing", Number(event.target.value), "smooth", event.target.value === "0" ? null : event.target.value) }, SMOOTHINGS.map(([value, text]) => h("option", { value, selected: Number(value) === state.smoothing }, text)));
    const by = h("select", { id: "by", onchange: (event) => changeAxis(event.target.value) }, h("option", { value: "epoch", selected: state.by === "epoch" }, "Epochs"), h("option", { value: "time", selected: state.by === "time" }, "Time"));
    return h(
      "div",
      { class: "curve-controls" },
      h("div", { class: "row", role: "group", "aria-label": "Lines" }, LINES.map(([key, text]) => check(text, !state.hidden.has(key), (on) => hide(key, !on), key)), steps),
      check("Log scale", state.log, (on) => change("log", on, "log", on ? "1" : null)),
      seeds.length ? check("Mean and band over seeds", state.seeds, (on) => change("seeds", on, "seeds", on ? "1" : null)) : null,
      h("label", { class: "inline-field" }, "Smoothing", smoothing),
      h("label", { class: "inline-field" }, "By", by),
      reset,
    );
  }

  function check(text, checked, onChange, line = null) {
    return h("label", { class: line ? `check line-${line}` : "check" }, h("input", { type: "checkbox", checked, onchange: (event) => onChange(event.target.checked) }), text);
  }

  function change(name, value, key, words) {
    state[name] = value;
    choose(key, words);
    redraw();
  }

  function changeAxis(by) {
    zoomAll(null, null); // epochs are no seconds
    change("by", by, "x", by === "time" ? "time" : null);
  }

  function hide(key, hidden) {
    if (hidden) state.hidden.add(key);
    else state.hidden.delete(key);
    choose("hide", [...state.hidden]);
    redraw();
  }

  function zoomAll(min, max, source = null) {
    state.zoom = min === null ? null : [min, max];
    choose("zoom", state.zoom ? state.zoom.map((value) => Number(value.toPrecision(6))).join("_") : null);
    reset.hidden = !state.zoom;
    for (const found of charts.values()) if (found.chart && found.chart !== source) found.chart.zoom(min, max);
  }

  function focusAll(id) {
    for (const { chart } of charts.values()) chart?.focus(id);
  }

  /** What happens within epochs dwarfs the rest once there are several: the first steps are far off. */
  const showsSteps = () => (state.steps === null ? jobs.length === 1 && jobs[0].curves.epochs.length < FEW_EPOCHS : state.steps === "1");

  function listShown(metric) {
    const banded = state.seeds && state.by === "epoch" ? seeds : [];
    const inBand = new Set(banded.flatMap((group) => group.jobs));
    const single = jobs.filter(({ id }) => !inBand.has(id) && !state.hidden.has(id));
    const lines = listLines(single, metric, { by: state.by, within: showsSteps() });
    const bands = banded.flatMap((group, place) => {
      const first = jobs.find(({ id }) => id === group.jobs[0]);
      return listBands(group, metric, { label: seeds.length > 1 ? `Seeds ${place + 1}` : "Seeds", token: first.token });
    });
    return [...lines, ...bands].filter((line) => metric === LEARNING_RATE || !state.hidden.has(line.key));
  }

  const makeMarks = (metric) => (jobs.length === 1 && jobs[0].curves.best && state.by === "epoch" && metric !== LEARNING_RATE ? [{ x: jobs[0].curves.best.epoch, label: `best: epoch ${jobs[0].curves.best.epoch}` }] : []);

  /** Draws a chart that is in view: new, or only with new values. */
  async function draw(found) {
    const { metric } = found;
    const lines = listShown(metric);
    const columns = makeColumns(lines, { smoothing: metric === LEARNING_RATE ? 0 : state.smoothing, log: state.log });
    const shape = JSON.stringify([lines.map(({ label, token }) => [label, token]), state.log, state.by]);
    found.figure.classList.toggle("bare", !columns[0].length);
    if (found.chart && found.shape === shape) {
      found.chart.mark(makeMarks(metric));
      found.chart.set(columns);
      return;
    }
    found.shape = shape;
    const drawn = { series: makeSeries(lines), y: { log: state.log }, x: state.by === "time" ? { label: "time", format: duration } : { label: "epoch", whole: true }, marks: makeMarks(metric), marked: jobs.length === 1 };
    if (found.chart) {
      found.chart.change(drawn, columns);
      return;
    }
    if (found.loading) return;
    found.loading = true;
    const options = { ...drawn, height: 220, legend: false, title: `${metric} by ${state.by}`, format: number, onFocus: (id) => (focusAll(id), onFocus?.(id)) };
    found.chart = await lineChart(found.place, { ...options, onZoom: (min, max) => zoomAll(min, max, found.chart) });
    found.place.classList.remove("skeleton");
    found.chart.set(columns);
    if (state.zoom) found.chart.zoom(...state.zoom);
    draw(found); // what came meanwhile
  }

  function addMissing() {
    for (const metric of listMetrics(jobs.map(({ curves }) => curves))) {
      if (charts.has(metric)) continue;
      const place = h("div", { class: "chart-place skeleton" });
      const figure = h("figure", { class: "card curve", "data-metric": metric }, h("figcaption", {}, h("h3", {}, metric)), place);
      charts.set(metric, { metric, figure, place, chart: null, shape: "", seen: false, loading: false });
      const before = metric === LEARNING_RATE ? null : charts.get(LEARNING_RATE)?.figure;
      grid.insertBefore(figure, before ?? null);
      view.observe(figure);
    }
  }

  function redraw() {
    addMissing();
    steps.querySelector("input").checked = showsSteps();
    for (const found of charts.values()) if (found.seen) draw(found);
  }

  redraw();
  return {
    update: redraw,
    focus: focusAll,
    hideJob: hide,
    isHidden: (id) => state.hidden.has(id),
  };
}
