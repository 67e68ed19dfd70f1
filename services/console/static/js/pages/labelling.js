// Label desk: kept answers one after the other, a key for each class.

import { ApiError, api, path } from "../api.js";
import { find, h, pageData, svg } from "../dom.js";
import { percent } from "../format.js";
import { choose, chosen } from "../url.js";
import { preload, showItem } from "../desk/item.js";
import { assignKeys, classControls, numberControl } from "../desk/keys.js";
import { Outbox } from "../desk/outbox.js";

const desk = pageData("desk");
const url = path("api", "models", desk.name, "answers");
const FETCHED = 20;
const FEW_LEFT = 6;
const LONGEST_WAIT_S = 15;

let queue = [];
let state = null; // counts and estimates, of the last list
let canary = null;
let [given, skipped, failures] = [0, 0, 0];
let loading = null;
let exhausted = false;
const seen = new Set(); // on this page: shown, labelled or skipped
const keyOf = (answer) => `${answer.request_id} ${answer.row}`;

const keys = desk.feedback === "class" ? assignKeys(desk.labels) : null;
const order = () => chosen("order")[0] ?? "random";
const hints = () => find("#hints").checked;

const outbox = new Outbox(desk.name, {
  onChange: () => showProgress(),
  onSent: () => refreshCounts(),
  onRefused: (label, error) => say(`A label was not taken: ${error.message}`),
});

// --- what is shown ----------------------------------------------------------------------------------------------------

function show() {
  const place = find("#item");
  const [answer] = queue;
  find("#skip").disabled = !answer;
  for (const control of find("#classes").querySelectorAll("button, input")) control.disabled = !answer;
  find("#classes").hidden = !answer && exhausted;
  place.classList.toggle("missing", !answer);
  if (answer) place.replaceChildren(...showItem(answer, hints()));
  else if (exhausted) place.replaceChildren(nothingLeft());
  preload(queue.slice(1, 4));
  showProgress();
}

function nothingLeft() {
  const text = state?.unlabelled
    ? "Nothing is left in this order. Take another one above, or come back when more has been answered."
    : "No answers are kept that have no label yet. Each answer of the model from now on is kept, as far as the gateway's settings say.";
  return h("div", { class: "empty" }, h("h2", {}, "Nothing to label"), h("p", {}, text), h("div", { class: "row" }, h("a", { class: "button", href: path("models", desk.name, "try") }, "Try it")));
}

function showProgress() {
  const place = find("#progress");
  find("#undo").disabled = !outbox.last;
  if (!state) return;
  const { random = 0, outcome = 0, margin = 0, disagreement = 0, hand = 0 } = state.labels;
  const parts = [
    h("dl", { class: "stats" }, stat("left to label", state.unlabelled), stat("at random", random), stat("unsure or picked", margin + disagreement + hand), outcome ? stat("sent by clients", outcome) : null),
    h("p", { class: "muted" }, `${given} on this page${outbox.size ? `, ${outbox.size} not sent yet` : ""}.`),
  ];
  if (outbox.error) parts.push(h("p", { class: "notice warn" }, `${outbox.error.message} ${outbox.size} labels wait; they are sent again by themselves, also after you leave this page and come back.`));
  if (order() === "random" && skipped) parts.push(h("p", { class: "muted" }, `${skipped} skipped. What is skipped for being hard makes the estimate too good.`));
  if (desk.feedback === "class") parts.push(...(state.estimates.length ? state.estimates.map(estimate) : [h("p", { class: "muted" }, "Accuracy appears with the first label at random.")]));
  else parts.push(h("p", { class: "muted" }, "Numbers are neither right nor wrong: they are kept for training, and there is no accuracy of them."));
  if (canary) parts.push(canary);
  place.replaceChildren(...parts);
}

const stat = (title, value) => h("div", { class: "stat" }, h("dt", {}, title), h("dd", {}, value.toLocaleString("en")));

function estimate({ version, labels, accuracy, low, high }) {
  const range = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "ground", width: 100, height: 10 }),
    svg("rect", { class: "range", x: 100 * low, width: Math.max(0.5, 100 * (high - low)), height: 10 }),
    svg("rect", { class: "point", x: 100 * accuracy - 0.5, width: 1, height: 10 }));
  return h("div", { class: "estimate" }, h("p", {}, h("strong", {}, `Version ${version}: ${percent(accuracy)} right`)), range, h("p", { class: "muted" }, `${percent(low)} to ${percent(high)} with 95 % confidence, from ${labels} ${labels === 1 ? "label" : "labels"} at random`));
}

async function readCanary() {
  if (!desk.canary) return;
  try {
    const { running, outlook } = await api.get(path("api", "models", desk.name, "canary"));
    const left = running && outlook ? outlook.labels_left : null;
    canary = left === null || left === undefined ? null : h("p", { class: "notice" }, `About ${Number(left.toPrecision(2)).toLocaleString("en")} labels at random until feedback decides about the canary.`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    canary = null; // this key may not see it
  }
}

// --- what is done -----------------------------------------------------------------------------------------------------

function label(truth) {
  const [answer] = queue;
  if (!answer) return;
  queue.shift();
  given += 1;
  const body = { request_id: answer.request_id, row: answer.row, chosen: answer.order, ...(desk.feedback === "class" ? { label: truth } : { value: truth }) };
  outbox.add({ body, answer });
  tell(`${truth}. Next one.`);
  next();
}

function skip() {
  if (!queue.length) return;
  queue.shift();
  skipped += 1;
  tell("Skipped.");
  next();
}

function undo() {
  const taken = outbox.undo();
  if (!taken) return;
  if (taken.answer) {
    given -= 1;
    queue.unshift(taken.answer);
  }
  tell("Taken back.");
  show();
}

function next() {
  show();
  if (queue.length < FEW_LEFT && !exhausted) load();
}

const say = (text) => (find("#desk-alert").textContent = text);
const tell = (text) => (find("#spoken").textContent = text);

// --- what is asked ----------------------------------------------------------------------------------------------------

async function load() {
  if (loading) return;
  const wanted = (loading = order());
  try {
    const list = await api.get(`${url}?order=${wanted}&limit=${FETCHED}`);
    if (wanted !== order()) return;
    failures = 0;
    say("");
    state = list;
    const fresh = list.answers.filter((answer) => !seen.has(keyOf(answer)));
    for (const answer of fresh) {
      seen.add(keyOf(answer));
      queue.push({ ...answer, order: wanted });
    }
    exhausted = !fresh.length;
    await readCanary();
    show();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    fail(error);
  } finally {
    loading = null;
    if (wanted !== order()) load();
  }
}

function fail(error) {
  if (error.status === 401) {
    say("The session or key has expired. Sign in again: labels that wait are kept. ");
    find("#desk-alert").append(h("a", { href: `/signin?next=${encodeURIComponent(location.pathname + location.search)}` }, "Sign in"));
  } else if (error.status === 0 || error.status === 429 || error.status === 503 || error.status === 504) {
    failures += 1;
    const waitS = Math.min(error.retryAfter ?? 2 ** (failures - 1), LONGEST_WAIT_S);
    say(`${error.message} Trying again in ${waitS} s.`);
    setTimeout(load, waitS * 1000);
    return;
  } else say(error.message);
  if (!queue.length) find("#item").replaceChildren(h("p", { class: "muted" }, "Nothing to show."));
}

let counting = 0;

/** Counts after labels have been sent: once for several. */
function refreshCounts() {
  clearTimeout(counting);
  counting = setTimeout(async () => {
    try {
      const { answers, ...counts } = await api.get(`${url}?order=newest&limit=1`);
      state = counts;
      await readCanary();
      showProgress();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }, 400);
}

// --- the page -----------------------------------------------------------------------------------------------------------

function pressOrder() {
  for (const button of document.querySelectorAll("[data-order]")) button.setAttribute("aria-pressed", String(button.dataset.order === order()));
}

function changeOrder(wanted) {
  choose("order", wanted);
  for (const answer of queue) seen.delete(keyOf(answer));
  queue = [];
  exhausted = false;
  say("");
  pressOrder();
  find("#item").replaceChildren(h("span", { class: "skeleton tall" }, h("span", { class: "visually-hidden" }, "Loading")));
  load();
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select")) return;
  const onButton = event.target.closest("button, a, summary, input");
  if (event.key === "Backspace") undo();
  else if (event.key === " " && !onButton) skip();
  else if (keys?.has(event.key.toLowerCase())) label(keys.get(event.key.toLowerCase()));
  else return;
  event.preventDefault();
}

function start() {
  find("#hints").checked = chosen("hints")[0] === "1";
  find("#hints").addEventListener("change", (event) => {
    choose("hints", event.target.checked ? "1" : null);
    show();
  });
  find("#classes").append(desk.feedback === "class" ? classControls(desk.labels, keys, label) : numberControl(label));
  find("#undo").addEventListener("click", undo);
  find("#skip").addEventListener("click", skip);
  for (const button of document.querySelectorAll("[data-order]")) button.addEventListener("click", () => changeOrder(button.dataset.order));
  document.addEventListener("keydown", press);
  setInterval(() => (find("#undo").disabled = !outbox.last), 1000);
  pressOrder();
  load();
}

start();
