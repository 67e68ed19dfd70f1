// One panel of an answer: what it says, which version said it, and how long that took.

import { h, svg } from "../dom.js";
import { number, percent } from "../format.js";
import { path } from "../api.js";
import { readAnswer, readUncertainty } from "./reading.js";

const MOST_BARS = 10;
const IN_ORDER = 12; // so few classes keep their places
const MANY_NUMBERS = 32;
const SOURCES = { sample: "warn", real: "good" };

export class Panel {
  constructor(model, title, what) {
    this.model = model;
    this.what = what;
    this.title = h("h3", {}, title);
    this.says = h("p", { class: "says", "aria-live": "polite" });
    this.body = h("div", { class: "answer-body" });
    this.sure = h("p", { class: "answer-sure muted" });
    this.meta = h("p", { class: "answer-meta" });
    this.alert = h("p", { role: "alert" });
    this.stale = h("p", { class: "muted", hidden: true }, "This answers the input before.");
    this.foot = h("div", { class: "answer-foot" });
    this.element = h("article", { class: "answer" }, h("header", {}, this.title), this.alert, this.stale, this.says, this.body, this.sure, this.meta, this.foot);
    this.empty();
  }

  /** Nothing is asked yet. */
  empty() {
    this.answer = null;
    this.says.replaceChildren(h("span", { class: "muted" }, this.what));
    this.body.replaceChildren();
    this.sure.replaceChildren();
    this.meta.replaceChildren();
    this.alert.textContent = "";
    this.stale.hidden = true;
    this.foot.replaceChildren();
    delete this.element.dataset.version;
  }

  busy(yes) {
    this.element.setAttribute("aria-busy", yes ? "true" : "false");
  }

  /** Shows an answer of `asking.request`. */
  show(answer) {
    this.alert.textContent = "";
    this.stale.hidden = true;
    this.answer = answer;
    this.read = readAnswer(answer.json, this.model);
    const [says, body] = SHOWN[this.read.kind](this.read, this.model);
    this.says.replaceChildren(...says);
    this.body.replaceChildren(body);
    this.sure.replaceChildren(...describeUncertainty(readUncertainty(answer.json, this.model)));
    this.meta.replaceChildren(...this.#describe(answer));
    this.element.dataset.version = answer.version;
  }

  /** Shows an error, and keeps the answer before in sight. */
  fail(text) {
    if (this.alert.textContent !== text) this.alert.textContent = text;
    this.outlive();
  }

  /** The input has changed, and cannot be asked about: an answer that is in sight is not its answer. */
  outlive() {
    this.stale.hidden = !this.answer;
  }

  #describe({ version, source, requestId, ms }) {
    const parts = [];
    if (version) parts.push(h("a", { href: path("models", this.model.name, "versions", version) }, `version ${version}`));
    if (source) parts.push(h("span", { class: `badge plain ${SOURCES[source] ?? ""}`, title: "What this version was trained on" }, `${source} data`));
    parts.push(h("span", { class: "latency", title: "From sending the request to having its answer" }, `${number(ms)} ms`));
    if (requestId) {
      const id = `id-${Math.random().toString(36).slice(2)}`;
      parts.push(h("span", { class: "request-id" }, "request ", h("code", { id }, requestId), h("button", { type: "button", class: "quiet", "data-copy": id, "aria-label": "Copy the request id" }, "Copy")));
    }
    return parts;
  }
}

const SHOWN = {
  classes: ({ scores, label, score }) => [[h("strong", {}, label), " ", h("span", { class: "muted" }, percent(score))], bars(scores, label)],
  labels: ({ scores }) => {
    const found = scores.filter(([, score]) => score >= 0.5);
    return [found.length ? found.map(([name]) => h("strong", { class: "tag" }, name)) : [h("span", { class: "muted" }, "None of the labels reaches 50 %.")], bars(scores, null, 0.5)];
  },
  numbers: ({ values }, model) => {
    if (values.length === 1) return [[h("strong", {}, number(values[0][1])), values[0][0] ? ` ${values[0][0]}` : ""], h("p", { class: "muted" }, model.summary ?? "")];
    const rows = values.slice(0, MANY_NUMBERS).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, number(value))));
    const more = values.length > MANY_NUMBERS ? h("p", { class: "muted" }, `${MANY_NUMBERS} of ${values.length.toLocaleString("en")} numbers.`) : null;
    return [[`${values.length.toLocaleString("en")} numbers`], h("div", {}, h("table", {}, h("tbody", {}, rows)), more)];
  },
  text: ({ text }) => [[h("strong", { class: "text" }, text || "(an empty text)")], ""],
  other: ({ value }) => [["Its outputs"], h("pre", { class: "code", tabindex: "0" }, JSON.stringify(value, null, 1).slice(0, 20_000))],
};

const TYPICAL = "How unlike the inputs of training it is: above 1 it is not typical, and nothing is promised of it";

/** A badge, and what the truth is in so many of 100 cases. */
function describeUncertainty({ typical, atypicality, sets, intervals }) {
  const parts = [];
  if (typical !== undefined) parts.push(h("span", { class: `badge ${typical ? "good" : "warn"}`, title: TYPICAL }, typical ? "typical input" : "not a typical input"), h("span", { title: TYPICAL }, `atypicality ${number(atypicality)}, limit 1`));
  for (const [percent, names] of Object.entries(sets ?? {})) {
    const listed = names.length > MOST_BARS ? `${names.length.toLocaleString("en")} classes` : names.join(", ");
    parts.push(h("span", { class: "holds", title: `Such sets hold the true class in ${percent} of 100 cases` }, `Right ${percent} times in 100: ${listed || "none is likely enough"}`));
  }
  for (const [percent, ends] of Object.entries(intervals ?? {})) {
    const listed = Object.entries(ends).slice(0, MOST_BARS).map(([name, [low, high]]) => `${name && Object.keys(ends).length > 1 ? `${name} ` : ""}${number(low)} to ${number(high)}`);
    parts.push(h("span", { class: "holds", title: `Such intervals hold the true number in ${percent} of 100 cases` }, `Right ${percent} times in 100: ${listed.join(", ")}`));
  }
  return parts;
}

/** Few classes in their own order; of many the likeliest. */
function bars(scores, best, mark = null) {
  const few = scores.length <= IN_ORDER;
  const shown = few ? scores : [...scores].sort((a, b) => b[1] - a[1]).slice(0, MOST_BARS);
  const list = h("ol", { class: "bars" }, shown.map(([name, score]) => bar(name, score, name === best || (mark !== null && score >= mark))));
  if (few) return list;
  return h("div", {}, list, h("p", { class: "muted" }, `The ${MOST_BARS} likeliest of ${scores.length.toLocaleString("en")} classes.`));
}

function bar(name, score, strong) {
  const width = Math.max(0, Math.min(1, score)) * 100;
  const shape = svg("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { width: width.toFixed(2), height: 1 }));
  return h("li", { class: strong ? "best" : null }, h("span", { class: "bar-name", title: name }, name), shape, h("span", { class: "bar-value" }, percent(score)));
}
