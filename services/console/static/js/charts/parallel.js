// Parallel coordinates: one axis for each key and one for the metric, one line for each trial.
// Pointing at a line fades the others; dragging along an axis keeps the lines between.

import { svg } from "../dom.js";
import { makeScale } from "./scale.js";

const HEIGHT = 320;
const TOP = 44;
const BOTTOM = 18;
const LEAST_GAP = 112;
const SIDE = 52;
const CLICK = 0.015; // of an axis: less than this is no drag
const STEP = 0.05;

/**
 * Draws it. `axes`: `[{key, label, strong, byMagnitude}]`; `rows`: `[{id, values: {key: value}, rank: 0…1 or null, best, title}]`;
 * `brushes`: Map of key to `[low, high]`, shares of the axis. Returns `{highlight(id), filter(ids), remove()}`.
 */
export function parallelChart(place, { axes, rows, brushes, onBrush, onHover, onOpen }) {
  const gap = Math.max(LEAST_GAP, (place.clientWidth - 2 * SIDE) / Math.max(1, axes.length - 1));
  const width = 2 * SIDE + gap * (axes.length - 1);
  const scales = new Map(axes.map((axis) => [axis.key, makeScale(rows.map((row) => row.values[axis.key]), axis.byMagnitude)]));
  const x = (index) => SIDE + gap * index;
  const y = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
  const lines = new Map();
  const lineGroup = svg("g", { class: "lines" });
  for (const row of [...rows].sort((a, b) => (a.rank ?? -1) - (b.rank ?? -1))) lineGroup.append(drawLine(row));
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "group", "aria-label": "Trials as lines over their values" }, lineGroup, axes.map(drawAxis));
  place.replaceChildren(picture);

  function drawLine(row) {
    const points = axes.map((axis, index) => [x(index), scales.get(axis.key).position(row.values[axis.key])]).filter(([, share]) => share !== null);
    const path = points.map(([across, share], index) => `${index ? "L" : "M"}${across.toFixed(1)} ${y(share).toFixed(1)}`).join("");
    const shown = svg("path", { d: path, class: `line ${row.best ? "best" : row.rank === null ? "none" : `level-${Math.min(4, Math.floor(row.rank * 5))}`}` });
    const line = svg("g", { "data-trial": row.id, onpointerenter: () => onHover(row.id), onpointerleave: () => onHover(null), onclick: () => onOpen?.(row.id) }, svg("path", { d: path, class: "hit" }), shown, svg("title", {}, row.title));
    lines.set(String(row.id), line);
    return line;
  }

  function drawAxis(axis, index) {
    const scale = scales.get(axis.key);
    const range = brushes.get(axis.key);
    const selected = svg("rect", { class: "selected", x: -7, width: 14, visibility: range ? "visible" : "hidden" });
    mark(selected, range);
    const help = "arrow keys move its lower end, with shift its upper end, Escape lets go";
    const grip = { class: "grip", x: -18, width: 36, y: TOP - 6, height: HEIGHT - TOP - BOTTOM + 12 };
    const overlay = svg("rect", { ...grip, tabindex: 0, role: "button", "aria-pressed": String(Boolean(range)), "aria-label": `Filter by ${axis.label}: ${help}` });
    const group = svg(
      "g",
      { class: `axis ${axis.strong ? "strong" : ""}`, transform: `translate(${x(index)} 0)`, "data-axis": axis.key },
      svg("line", { y1: y(1), y2: y(0) }),
      svg("text", { class: "name", y: 18, "text-anchor": index === 0 ? "start" : index === axes.length - 1 ? "end" : "middle", x: index === 0 ? -SIDE + 6 : index === axes.length - 1 ? SIDE - 6 : 0 }, axis.label),
      scale.ticks.map((tick) => [svg("line", { class: "tick", x1: -4, x2: 4, y1: y(tick.share), y2: y(tick.share) }), svg("text", { class: "value", x: index === axes.length - 1 ? -9 : 9, "text-anchor": index === axes.length - 1 ? "end" : "start", y: y(tick.share) + 4 }, tick.text)]),
      selected,
      overlay,
    );
    group.addEventListener("pointerdown", (event) => drag(event, axis, selected, overlay));
    group.addEventListener("keydown", (event) => moveByKey(event, axis));
    return group;
  }

  function mark(selected, range) {
    selected.setAttribute("visibility", range ? "visible" : "hidden");
    selected.nextSibling?.setAttribute("aria-pressed", String(Boolean(range)));
    if (!range) return;
    selected.setAttribute("y", y(range[1]) - 3);
    selected.setAttribute("height", y(range[0]) - y(range[1]) + 6);
  }

  function shareAt(event) {
    const box = picture.getBoundingClientRect();
    const down = ((event.clientY - box.top) / box.height) * HEIGHT;
    return Math.min(1, Math.max(0, 1 - (down - TOP) / (HEIGHT - TOP - BOTTOM)));
  }

  function drag(event, axis, selected, overlay) {
    event.preventDefault();
    overlay.focus({ preventScroll: true });
    const start = shareAt(event);
    let range = null;
    const move = (moved) => {
      const end = shareAt(moved);
      range = Math.abs(end - start) < CLICK ? null : [Math.min(start, end), Math.max(start, end)];
      mark(selected, range);
      onBrush(axis.key, range, false);
    };
    const release = () => {
      document.removeEventListener("pointermove", move);
      document.removeEventListener("pointerup", release);
      document.removeEventListener("pointercancel", release);
      mark(selected, range);
      onBrush(axis.key, range, true);
    };
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", release);
    document.addEventListener("pointercancel", release);
  }

  function moveByKey(event, axis) {
    const by = { ArrowUp: STEP, ArrowDown: -STEP }[event.key];
    if (event.key !== "Escape" && !by) return;
    event.preventDefault();
    let range = null;
    if (by) {
      const [low, high] = brushes.get(axis.key) ?? [0, 1];
      range = event.shiftKey ? [low, Math.min(1, Math.max(low, high + by))] : [Math.max(0, Math.min(high, low + by)), high];
      if (range[0] <= 0 && range[1] >= 1) range = null;
    }
    mark(picture.querySelector(`[data-axis="${CSS.escape(axis.key)}"] .selected`), range);
    onBrush(axis.key, range, true);
  }

  return {
    scales,
    highlight(id) {
      picture.classList.toggle("pointed", id !== null);
      for (const [key, line] of lines) line.classList.toggle("on", key === String(id));
      if (id !== null && lines.has(String(id))) lineGroup.append(lines.get(String(id)));
    },
    filter(ids) {
      for (const [key, line] of lines) line.classList.toggle("out", !ids.has(key));
    },
  };
}
