// Readings of /metrics, of one gateway or of several behind one address: told apart by when their process started.

import { growth, parse, sum } from "./prometheus.js";

const GONE_S = 20; // a gateway that was not read for so long has ended, or is not asked any more
const IDENTITY = "modelyard_gateway_process_start_time_seconds";
const COUNTERS = /_(total|bucket|count|sum)$/;
const SHARED = new Set(["modelyard_waiting_jobs"]); // every gateway says the same: of the ledger

export class Readings {
  constructor() {
    this.latest = new Map();
    this.models = new Set();
  }

  /** Rates are known when a gateway was read twice. */
  add(time, text) {
    const samples = parse(text);
    const identity = samples[IDENTITY]?.[0].value ?? 0;
    const before = this.latest.get(identity);
    const seconds = before ? time - before.time : 0;
    const rates = seconds > 0 ? ratesOf(before.samples, samples, seconds) : null;
    this.latest.set(identity, { time, samples, rates });
    for (const [other, one] of this.latest) if (one.time < time - GONE_S) this.latest.delete(other);
    for (const { labels } of samples.modelyard_gateway_predictions_total ?? []) this.models.add(labels.model);
    const known = [...this.latest.values()];
    return {
      samples,
      rates: merge(known.map((one) => one.rates ?? {})),
      gauges: (name) => (SHARED.has(name) ? [{ samples }] : known).reduce((total, one) => total + sum(one.samples[name] ?? []), 0),
      gateways: known.length,
      models: [...this.models].sort(),
      complete: rates !== null,
    };
  }

  /** The next reading is a first one: nothing is said about the time between. */
  forget() {
    this.latest.clear();
  }
}

function ratesOf(before, now, seconds) {
  const names = Object.keys(now).filter((name) => COUNTERS.test(name));
  return Object.fromEntries(names.map((name) => [name, growth(before, now, name).map(({ labels, value }) => ({ labels, value: value / seconds }))]));
}

function merge(all) {
  const merged = {};
  for (const rates of all) for (const [name, series] of Object.entries(rates)) (merged[name] ??= []).push(...series);
  return merged;
}
