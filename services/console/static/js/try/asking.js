// Asks for answers to an input that goes on changing: one request at a time, of the input as it is then.
// An answer to what has been cleared is dropped; while the gateway is busy or away it asks again by itself.

import { ApiError, send } from "../api.js";

const LONGEST_WAIT_S = 15;
const TIMEOUT_MS = 35_000;

export class Asker {
  /** `target()`: path of `:predict`; `onAnswer(answer)`, `onError(error, waitS)`, `onBusy(boolean)`. */
  constructor({ target, headers, onAnswer, onError, onBusy }) {
    Object.assign(this, { target, headers, onAnswer, onError, onBusy });
    this.waiting = null;
    this.running = null;
    this.failures = 0;
    this.timer = 0;
    this.notBefore = 0; // where the gateway asked for patience, whatever is typed meanwhile
  }

  /** Asks about this call, now or when the request before has been answered; an earlier one that still waits is left out. */
  ask(call) {
    this.waiting = call;
    clearTimeout(this.timer);
    if (this.running) return;
    const waitMs = this.notBefore - performance.now();
    if (waitMs > 0) this.timer = setTimeout(() => this.#next(), waitMs);
    else this.#next();
  }

  /** Drops what was asked, and its answer. */
  clear() {
    this.waiting = null;
    clearTimeout(this.timer);
    this.running?.abort();
    this.running = null;
    this.failures = 0;
    this.onBusy(false);
  }

  async #next() {
    const call = this.waiting;
    this.waiting = null;
    if (!call) return;
    const running = (this.running = new AbortController());
    this.onBusy(true);
    try {
      const answer = await request(this.target(call), call, this.headers(), running.signal);
      if (this.running !== running) return;
      this.failures = 0;
      this.onAnswer(answer, call);
    } catch (error) {
      if (this.running !== running) return;
      this.#fail(error, call);
    }
    this.running = null;
    this.onBusy(Boolean(this.waiting));
    if (this.waiting && !this.failures) this.#next();
  }

  #fail(error, call) {
    if (!(error instanceof ApiError)) throw error;
    const again = error.status === 0 || error.status === 429 || error.status === 503;
    this.failures = again ? this.failures + 1 : 0;
    const waitS = again ? Math.min(error.retryAfter ?? 2 ** (this.failures - 1), LONGEST_WAIT_S) : null;
    this.onError(error, waitS, call);
    if (!again) return;
    this.waiting ??= call;
    if (error.retryAfter) this.notBefore = performance.now() + waitS * 1000;
    this.timer = setTimeout(() => !this.running && this.#next(), waitS * 1000);
  }
}

/** One prediction: `{json, version, source, requestId, ms}`. Raises ApiError. */
export async function request(url, call, headers = {}, signal = undefined) {
  const started = performance.now();
  const options = { headers, signal, timeout: TIMEOUT_MS, body: call.body };
  if (call.type) options.type = call.type;
  const response = await send("POST", url, options);
  const json = await response.json();
  return {
    json,
    version: Number(response.headers.get("X-Model-Version")) || null,
    source: response.headers.get("X-Model-Data"),
    requestId: response.headers.get("X-Request-Id"),
    ms: performance.now() - started,
  };
}
