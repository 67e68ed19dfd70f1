// Labels on their way: each is held for a few seconds, so that it can be taken back, and sent again until it arrives.
// Feedback is never deleted, as a canary may have been judged by it; what has been sent stays.

import { api } from "../api.js";

const HELD_MS = 5000;
const LONGEST_WAIT_S = 15;
const DONE = new Set([400, 404, 409]); // of another's label, or of an answer that is gone: no second try helps

export class Outbox {
  /** `onChange()` after each step; `onRefused(label, error)` for a label that cannot be taken. */
  constructor(model, { onChange, onSent, onRefused }) {
    Object.assign(this, { onChange, onSent, onRefused });
    this.place = `modelyard-labels-${model}`;
    this.labels = this.#load().map((label) => ({ ...label, due: 0, tried: true }));
    this.failures = 0;
    this.error = null;
    this.sending = false;
    this.timer = 0;
    addEventListener("pagehide", () => this.#sendAll());
    this.#schedule();
  }

  get size() {
    return this.labels.length;
  }

  /** The newest that can be taken back. */
  get last() {
    return this.labels.findLast((label) => label.due > Date.now() && !label.sending) ?? null;
  }

  add(label) {
    this.labels.push({ ...label, due: Date.now() + HELD_MS });
    this.#changed();
  }

  /** Takes the newest back; null if all are sent. */
  undo() {
    const { last } = this;
    if (last) this.labels.splice(this.labels.indexOf(last), 1);
    this.#changed();
    return last;
  }

  #load() {
    try {
      return JSON.parse(localStorage.getItem(this.place) ?? "[]");
    } catch {
      return [];
    }
  }

  #changed() {
    try {
      localStorage.setItem(this.place, JSON.stringify(this.labels.map(({ body }) => ({ body }))));
    } catch {
      // There is no room; the page has them.
    }
    this.onChange();
    this.#schedule();
  }

  #schedule(waitMs = null) {
    clearTimeout(this.timer);
    if (!this.labels.length || this.sending) return;
    const due = Math.max(0, this.labels[0].due - Date.now());
    this.timer = setTimeout(() => this.#send(), waitMs ?? due);
  }

  async #send() {
    const [label] = this.labels;
    if (!label || this.sending) return;
    this.sending = label.sending = true;
    this.onChange();
    let waitMs = null;
    try {
      await api.post("/api/feedback", label.body);
      this.#drop(label);
      this.onSent();
    } catch (error) {
      waitMs = this.#fail(label, error);
    }
    this.sending = label.sending = false;
    this.#changed();
    if (waitMs !== null) this.#schedule(waitMs);
  }

  #drop(label) {
    this.labels.splice(this.labels.indexOf(label), 1);
    this.failures = 0;
    this.error = null;
  }

  #fail(label, error) {
    if (DONE.has(error.status)) {
      this.#drop(label);
      if (error.status === 409 && label.tried) this.onSent(); // it had arrived, and only the answer to it was lost
      else this.onRefused(label, error);
      return null;
    }
    label.tried = true;
    this.failures += 1;
    this.error = error;
    return 1000 * Math.min(error.retryAfter ?? 2 ** (this.failures - 1), LONGEST_WAIT_S);
  }

  /** When the page is left: the browser goes on sending. What does not arrive is sent at the next visit. */
  #sendAll() {
    for (const label of this.labels.filter((one) => !one.sending)) {
      label.tried = true;
      fetch("/api/feedback", { method: "POST", keepalive: true, headers: headers(), body: JSON.stringify(label.body) }).catch(() => {});
    }
  }
}

function headers() {
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  return { "Content-Type": "application/json", Accept: "application/json", ...(token ? { "X-CSRF-Token": token } : {}) };
}
