// Why this answer: weights drawn over the picture, marked in the text, or as bars of columns.
// What speaks for the answer and what against it differ in pattern or side too, never in colour alone.

import { h, svg } from "../dom.js";
import { number } from "../format.js";
import { Asker } from "./asking.js";
import { drawMap, describeMap } from "./heat_map.js";

const PAUSE_MS = 350; // an explanation costs as much as dozens of answers: not one for each stroke
const MOST_BARS = 12;
const MOST_LISTED = 20;
const REACHED = 10; // words that the keyboard reaches; the list has more
const LEVELS = 5;

/** The part of an answer's panel that says why. */
export class Why {
  constructor({ target, headers }) {
    this.body = h("div", { class: "why-body" });
    this.status = h("p", { class: "muted", role: "status" });
    this.alert = h("p", { role: "alert" });
    this.element = h("section", { class: "why", hidden: true, "aria-label": "Why this answer" }, this.status, this.alert, this.body);
    this.timer = 0;
    this.asker = new Asker({
      target: (call) => `${target()}?explain=1${call.raw ? "" : "&labels=scores"}`,
      headers,
      onBusy: (yes) => this.#busy(yes),
      onAnswer: (answer) => this.#show(answer.json),
      onError: (error, waitS) => this.#fail(error, waitS),
    });
  }

  /** Explains the answer to this call in a moment, unless another one comes before. */
  ask(call) {
    this.element.hidden = false;
    clearTimeout(this.timer);
    this.element.classList.add("stale");
    this.timer = setTimeout(() => this.asker.ask(call), PAUSE_MS);
  }

  clear() {
    clearTimeout(this.timer);
    this.asker.clear();
    this.element.hidden = true;
    this.body.replaceChildren();
    this.alert.textContent = "";
  }

  #busy(yes) {
    const text = yes ? "Looking for what the answer rests on …" : "";
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  #fail(error, waitS) {
    this.body.replaceChildren();
    this.alert.textContent = waitS === null ? error.message : `${error.message} Trying again.`;
  }

  #show(json) {
    this.alert.textContent = "";
    this.element.classList.remove("stale");
    const found = json.explanation ?? json.predictions?.[0]?.explanation;
    this.body.replaceChildren(...(found ? drawExplanation(found) : []));
  }
}

/** Elements that show an explanation of the API. */
export function drawExplanation(found) {
  const subject = found.label ?? found.value ?? "the answer";
  return [h("h4", {}, `Why ${subject}?`), ...drawPart(found, subject), ...drawParts(found.parts ?? {}, subject)];
}

function drawParts(parts, subject) {
  return Object.entries(parts).flatMap(([title, part]) => [h("h5", {}, title), ...drawPart(part, subject)]);
}

function drawPart(part, subject) {
  if (part.words) return drawWords(part.words, subject);
  if (part.columns) return drawBars(Object.entries(part.columns), subject);
  if (part.height) return drawPicture(part, subject);
  if (part.weights) return drawBars(part.weights.map((weight, place) => [`${place + 1}`, weight]), subject);
  return [];
}

function drawLegend(subject, place = "") {
  const swatch = (kind) => h("span", { class: `swatch ${kind}`, "aria-hidden": "true" });
  return h("p", { class: `why-legend ${place}` }, h("span", {}, swatch("for"), ` speaks for ${subject}`), h("span", {}, swatch("against"), ` speaks against ${subject}`));
}

// --- words ------------------------------------------------------------------------------------------------------------

function drawWords(words, subject) {
  if (!words.length) return [h("p", { class: "muted" }, "There is no word in this text.")];
  const most = Math.max(...words.map(({ weight }) => Math.abs(weight)));
  if (!most) return [h("p", { class: "muted" }, "No word of this text weighs anything: the answer does not rest on them.")];
  const strongest = [...words].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const reached = new Set(strongest.slice(0, REACHED).filter(({ weight }) => weight));
  const text = h("p", { class: "why-text", tabindex: "0", role: "group", "aria-label": "The text, its words marked" }, words.flatMap((word) => [markWord(word, most, reached.has(word)), " "]));
  const rows = strongest.slice(0, MOST_LISTED).map(({ word, weight }) => h("tr", {}, h("th", { scope: "row" }, word), h("td", { class: "number" }, signed(weight))));
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Word"), h("th", { scope: "col", class: "number" }, `Weight for ${subject}`)));
  const list = h("details", {}, h("summary", {}, `The ${Math.min(MOST_LISTED, words.length)} words that weigh most`), h("div", { class: "scroll" }, h("table", {}, head, h("tbody", {}, rows))));
  return [drawLegend(subject), text, list];
}

function markWord({ word, weight }, most, reached) {
  const level = most ? Math.round((Math.abs(weight) / most) * LEVELS) : 0;
  if (!level) return h("span", {}, word);
  const side = weight > 0 ? "for" : "against";
  return h("span", { class: `mark ${side} level-${level}`, "data-weight": signed(weight), tabindex: reached ? "0" : null }, word, reached ? h("span", { class: "visually-hidden" }, ` (${signed(weight)})`) : null);
}

// --- columns ----------------------------------------------------------------------------------------------------------

function drawBars(pairs, subject) {
  const most = Math.max(...pairs.map(([, weight]) => Math.abs(weight)), Number.MIN_VALUE);
  const shown = [...pairs].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, MOST_BARS);
  const more = pairs.length > shown.length ? h("p", { class: "muted" }, `The ${shown.length} of ${pairs.length.toLocaleString("en")} that weigh most.`) : null;
  return [drawLegend(subject), h("ol", { class: "bars why-bars" }, shown.map(([name, weight]) => drawBar(name, weight, weight / most))), more].filter(Boolean);
}

/** From the middle: to the right for the answer, to the left against it. */
function drawBar(name, weight, share) {
  const width = Math.abs(share) * 50;
  const rect = svg("rect", { x: (share < 0 ? 50 - width : 50).toFixed(2), width: width.toFixed(2), height: 1, class: share < 0 ? "against" : "for" });
  const zero = svg("rect", { x: 49.8, width: 0.4, height: 1, class: "zero" });
  const shape = svg("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" }, rect, zero);
  return h("li", {}, h("span", { class: "bar-name", title: name }, name), shape, h("span", { class: "bar-value" }, signed(weight)));
}

// --- pictures ---------------------------------------------------------------------------------------------------------

function drawPicture({ weights, height, width, image }, subject) {
  const canvas = h("canvas", { class: "why-map", role: "img", "aria-label": describeMap(weights, subject) });
  drawMap(canvas, { weights, height, width, image });
  const seen = image ? "Over the picture that the model saw." : null;
  return [drawLegend(subject, "on-map"), h("figure", { class: "why-picture" }, canvas, h("figcaption", { class: "muted" }, `${seen ?? ""} ${describeMap(weights, subject)}`.trim()))];
}

function signed(weight) {
  const text = number(Math.abs(weight));
  if (text === "0") return text;
  return weight < 0 ? `−${text}` : `+${text}`;
}
