// Live: reads /metrics every few seconds while the tab is visible, and draws what the counters grew by.

import { api } from "../api.js";
import { lineChart, runColour } from "../charts/line_chart.js";
import { find, h } from "../dom.js";
import { number, percent } from "../format.js";
import { Readings } from "../live_readings.js";
import { quantile, sum, sumBy } from "../prometheus.js";
import { choose, chosen } from "../url.js";

const EVERY_MS = 3000;
const FIRST_MS = 700; // rates need two readings
const MAX_WAIT_MS = 30_000;
const KEPT = 1200; // an hour
const PREDICTS = /:predict|:classify|:regress|\/infer$/;
const MOST_MODELS = 8;
const SHARES = [0.5, 0.95, 0.99];
const GATEWAY = "modelyard_gateway_";

const readings = new Readings();
let model = chosen("model")[0] ?? "";
let paused = false;
let failures = 0;
let drawn = false;
let timer = 0;

const ms = (seconds) => (seconds === null ? null : seconds * 1000);
const asksFor = ({ route }) => PREDICTS.test(route ?? "");
const isOurs = (labels) => !model || labels.model === model;

/** A chart that grows, and is made anew when its lines change. Its points stay as long as their line is there. */
class Growing {
  constructor(id, title, format = number, tokens = {}) {
    Object.assign(this, { place: find(`#${id} .place`), title, format, tokens, times: [], lines: new Map(), chart: null, shown: "" });
  }

  async add(time, values) {
    if (!this.times.length) this.grow(time - 120, new Map());
    this.grow(time, values);
    const names = [...this.lines.keys()];
    if (this.shown !== JSON.stringify(names)) {
      this.shown = JSON.stringify(names);
      this.chart?.destroy();
      this.chart = null;
      const series = names.map((label, order) => ({ label, token: this.tokens[label] ?? runColour(order) }));
      this.chart = await lineChart(this.place, { series, x: { label: "time", time: true }, y: { zero: true }, format: this.format, height: 200, title: this.title });
    }
    this.chart?.set([this.times, ...this.lines.values()]);
  }

  grow(time, values) {
    for (const name of values.keys()) if (!this.lines.has(name)) this.lines.set(name, this.times.map(() => null));
    this.times.push(time);
    for (const [name, line] of this.lines) line.push(values.get(name) ?? null);
    if (this.times.length > KEPT) for (const column of [this.times, ...this.lines.values()]) column.shift();
  }

  forget() {
    this.times = [];
    this.lines = new Map();
    this.shown = "";
  }
}

const charts = {
  requests: new Growing("chart-requests", "Requests per second", number, { predictions: "--run-1", others: "--run-8" }),
  latency: new Growing("chart-latency", "Latency in milliseconds", (value) => (value === null ? "–" : `${number(value)} ms`), { "50 %": "--run-1", "95 %": "--run-2", "99 %": "--run-4" }),
  predictions: new Growing("chart-predictions", "Predictions per second"),
  batches: new Growing("chart-batches", "Rows per call"),
  queue: new Growing("chart-queue", "Queues"),
  errors: new Growing("chart-errors", "Errors per second", number, { refused: "--run-6", failed: "--run-4", "model servers": "--run-2" }),
};

/** The largest few of sums by name. */
const largest = (sums) => new Map([...[...sums].sort((a, b) => b[1] - a[1]).slice(0, MOST_MODELS)].sort(([a], [b]) => (a < b ? -1 : 1)));

function rowsPerCall(rates) {
  const rows = sumBy((rates[`${GATEWAY}call_rows_sum`] ?? []).filter(({ labels }) => isOurs(labels)), "model");
  const calls = sumBy(rates[`${GATEWAY}call_rows_count`] ?? [], "model");
  return largest(new Map([...rows].filter(([name]) => calls.get(name)).map(([name, value]) => [name, value / calls.get(name)])));
}

function latency(rates) {
  const [name, passes] = model ? ["call_seconds_bucket", isOurs] : ["request_seconds_bucket", asksFor];
  return SHARES.map((share) => ms(quantile(share, rates[GATEWAY + name] ?? [], passes)));
}

function draw(time, { rates, gauges }) {
  const requests = rates[`${GATEWAY}requests_total`] ?? [];
  const asked = sum(requests, asksFor);
  const refused = sum(requests, ({ status }) => status.startsWith("4"));
  const failed = sum(requests, ({ status }) => status.startsWith("5"));
  const predictions = rates[`${GATEWAY}predictions_total`] ?? [];
  const ours = predictions.filter(({ labels }) => isOurs(labels));
  const quantiles = latency(rates);
  const flight = gauges(`${GATEWAY}requests_in_flight`) - 1; // without the reading itself
  const waiting = gauges(`${GATEWAY}waiting_requests`);
  const jobs = gauges("modelyard_waiting_jobs");
  charts.requests.add(time, new Map([["predictions", asked], ["others", sum(requests) - asked]]));
  charts.latency.add(time, new Map(["50 %", "95 %", "99 %"].map((name, index) => [name, quantiles[index]])));
  charts.predictions.add(time, model ? new Map([...sumBy(ours, "version")].map(([version, rate]) => [`version ${version}`, rate])) : largest(sumBy(ours, "model")));
  charts.batches.add(time, rowsPerCall(rates));
  charts.queue.add(time, new Map([["in progress", flight], ["waiting for a model server", waiting], ["jobs waiting", jobs]]));
  charts.errors.add(time, new Map([["refused", refused], ["failed", failed], ["model servers", sum(rates[`${GATEWAY}serving_errors_total`] ?? [])]]));
  const all = sum(requests);
  show({ requests: number(round(all)), predictions: number(round(sum(ours))), p95: number(quantiles[1]), errors: all ? percent((refused + failed) / all) : "–", flight: number(flight), waiting: number(waiting), jobs: number(jobs) });
}

const round = (value) => Math.round(value * 100) / 100;

function show(values) {
  for (const [name, text] of Object.entries(values)) find(`#now-${name}`).textContent = text;
}

function listModels(rates, known) {
  const rowRates = sumBy(rates[`${GATEWAY}predictions_total`] ?? [], "model");
  const errors = sumBy(rates[`${GATEWAY}call_errors_total`] ?? [], "model");
  const calls = sumBy(rates[`${GATEWAY}call_seconds_count`] ?? [], "model");
  const perCall = new Map([...sumBy(rates[`${GATEWAY}call_rows_sum`] ?? [], "model")].map(([name, rows]) => [name, calls.get(name) ? rows / calls.get(name) : null]));
  const rows = known.map((name) => {
    const quantiles = SHARES.map((share) => quantile(share, rates[`${GATEWAY}call_seconds_bucket`] ?? [], (labels) => labels.model === name));
    const cells = [round(rowRates.get(name) ?? 0), round(calls.get(name) ?? 0), ...quantiles.map(ms), perCall.get(name) ?? null, round(errors.get(name) ?? 0)];
    const units = ["", "", " ms", " ms", " ms", "", ""];
    return h("tr", {}, h("th", { scope: "row" }, h("a", { href: `/models/${encodeURIComponent(name)}` }, name)), cells.map((value, index) => h("td", { class: "number" }, number(value) + (value === null ? "" : units[index]))));
  });
  if (rows.length) find("#models").replaceChildren(...rows);
  const select = find("#model");
  for (const name of known) if (![...select.options].some((option) => option.value === name)) select.append(h("option", { value: name }, name));
  if (model && select.value !== model) {
    if (![...select.options].some((option) => option.value === model)) select.append(h("option", { value: model }, model));
    select.value = model;
  }
}

function listServers(samples) {
  const calls = new Map((samples[`${GATEWAY}replica_calls`] ?? []).map(({ labels, value }) => [`${labels.pool} ${labels.replica}`, value]));
  const states = samples[`${GATEWAY}replica_reachable`] ?? [];
  const rows = states.map(({ labels: { pool, replica }, value }) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, replica), pool === "default" ? "" : ` ${pool}`), h("td", {}, h("span", { class: `badge ${value ? "good" : "bad"}` }, value ? "reached" : "not reached")), h("td", { class: "number" }, number(calls.get(`${pool} ${replica}`) ?? 0))));
  if (rows.length) find("#servers").replaceChildren(...rows);
  show({ replicas: `${states.filter(({ value }) => value).length} of ${states.length}` });
}

function sayHowMany(count) {
  const notice = find("#several");
  notice.hidden = count < 2;
  if (count > 1) notice.textContent = `${count} gateways answer at this address, one at each reading. Rates are the sum of what each of them did between its own last two readings; gauges are each one's newest.`;
}

async function read() {
  const text = await api.text("/metrics");
  const time = Date.now() / 1000;
  const found = readings.add(time, text);
  listServers(found.samples);
  listModels(found.rates, found.models);
  sayHowMany(found.gateways);
  drawn = found.complete;
  if (drawn) draw(time, found);
}

function setTrouble(error) {
  failures = error ? failures + 1 : 0;
  const away = error?.status === 0;
  find("#away").hidden = !away;
  const trouble = find("#trouble");
  trouble.hidden = !error || away;
  trouble.textContent = error && !away ? error.message : "";
  if (error) readings.forget();
}

async function tick() {
  clearTimeout(timer);
  if (!document.hidden && !paused) await read().then(() => setTrouble(null), setTrouble);
  const wait = drawn || paused || failures ? EVERY_MS : FIRST_MS;
  timer = setTimeout(tick, Math.min(wait * 2 ** Math.min(failures, 5), MAX_WAIT_MS));
}

find("#pause").addEventListener("click", ({ currentTarget: button }) => {
  paused = !paused;
  button.setAttribute("aria-pressed", String(paused));
  button.textContent = paused ? "Go on" : "Pause";
  if (paused) readings.forget();
  else tick();
});
find("#model").addEventListener("change", ({ currentTarget }) => {
  model = currentTarget.value;
  choose("model", model);
  for (const chart of [charts.latency, charts.predictions, charts.batches]) chart.forget();
  tick();
});
find("#try-now").addEventListener("click", tick);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) readings.forget(); // a rate over the time that nobody looked would be an average of it
  else tick();
});
tick();
