// One captured answer, as whoever labels it sees it.

import { h } from "../dom.js";
import { number, percent } from "../format.js";

const SMALL = 96; // pixels: such pictures are enlarged with their pixels visible

export function showItem(answer, hints) {
  const [only] = answer.inputs;
  const shown = answer.inputs.length === 1 ? showOne(only) : showRow(answer.inputs);
  return [shown, hints ? showSaid(answer) : null].filter(Boolean);
}

function showOne(input) {
  if (input.picture) return picture(input);
  if (input.kind === "text") return h("blockquote", { tabindex: "0", "aria-label": "Text" }, input.value);
  return showRow([input]);
}

function showRow(inputs) {
  const rows = inputs.map((input) => h("tr", {}, h("th", { scope: "row" }, input.title), h("td", {}, input.picture ? picture(input) : showValue(input.value))));
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Inputs" }, h("table", {}, h("tbody", {}, rows)));
}

function showValue(value) {
  if (value === null || value === "") return h("span", { class: "muted" }, "missing");
  if (Array.isArray(value)) return `${value.slice(0, 32).map(number).join(", ")}${value.length > 32 ? " …" : ""}`;
  return typeof value === "number" ? number(value) : String(value);
}

function picture(input) {
  const image = h("img", { src: input.picture, alt: `Input ${input.title}`, width: 256 });
  image.addEventListener("load", () => image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= SMALL));
  image.addEventListener("error", () => image.replaceWith(h("p", { class: "muted" }, "The picture cannot be shown: it was deleted meanwhile, or the gateway does not answer. Skip it, or try again.")));
  return image;
}

function showSaid({ version, predicted, score, other }) {
  const say = (one) => `version ${one.version}: ${typeof one.predicted === "number" ? number(one.predicted) : one.predicted}${one.score === null ? "" : ` (${percent(one.score)})`}`;
  return h("p", { class: "said" }, say({ version, predicted, score }), other ? ` · ${say(other)}` : "");
}

/** Pictures of answers that come next, so that they are there at once. */
export function preload(answers) {
  for (const answer of answers) for (const input of answer.inputs) if (input.picture) new Image().src = input.picture;
}
