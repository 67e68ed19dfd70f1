// One key against the metric, a point for each trial.

import { svg } from "../dom.js";
import { makeScale } from "./scale.js";

const HEIGHT = 280;
const PAD = { left: 64, right: 20, top: 14, bottom: 44 };

/** Draws it. `rows`: `[{id, x, y, best, title}]`; points without either are left out. Returns `{highlight(id), filter(ids)}`. */
export function scatterChart(place, { rows, xLabel, yLabel, byMagnitude = false, onHover }) {
  const there = rows.filter((row) => row.x !== null && row.x !== undefined && row.y !== null);
  const width = Math.max(280, place.clientWidth);
  const [across, up] = [makeScale(there.map((row) => row.x), byMagnitude), makeScale(there.map((row) => row.y))];
  const x = (share) => PAD.left + (0.02 + 0.96 * share) * (width - PAD.left - PAD.right);
  const y = (share) => HEIGHT - PAD.bottom - (0.03 + 0.94 * share) * (HEIGHT - PAD.top - PAD.bottom);
  const points = new Map();
  const group = svg("g", { class: "points" });
  for (const row of there) {
    const point = svg("circle", { cx: x(across.position(row.x)), cy: y(up.position(row.y)), r: row.best ? 7 : 5, class: row.best ? "best" : "", onpointerenter: () => onHover(row.id), onpointerleave: () => onHover(null) }, svg("title", {}, row.title));
    points.set(String(row.id), point);
    group.append(point);
  }
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": `${yLabel} over ${xLabel}, ${there.length} trials; the table has the values` },
    svg("line", { class: "frame", x1: PAD.left, x2: width - PAD.right, y1: HEIGHT - PAD.bottom, y2: HEIGHT - PAD.bottom }),
    up.ticks.map((tick) => [svg("line", { class: "grid", x1: PAD.left, x2: width - PAD.right, y1: y(tick.share), y2: y(tick.share) }), svg("text", { class: "value", x: PAD.left - 8, y: y(tick.share) + 4, "text-anchor": "end" }, tick.text)]),
    across.ticks.map((tick) => svg("text", { class: "value", x: x(tick.share), y: HEIGHT - PAD.bottom + 17, "text-anchor": "middle" }, tick.text)),
    svg("text", { class: "name", x: (PAD.left + width - PAD.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, xLabel),
    group,
  );
  place.replaceChildren(picture);
  return {
    highlight(id) {
      picture.classList.toggle("pointed", id !== null);
      for (const [key, point] of points) point.classList.toggle("on", key === String(id));
    },
    filter(ids) {
      for (const [key, point] of points) point.classList.toggle("out", !ids.has(key));
    },
  };
}
