// Follows Server-Sent Events over fetch: EventSource gives up on an answer like 503, cannot say why, and forgets where
// it was. Here a broken stream goes on behind the last event, by itself, until it is stopped or there is nothing more.

const FIRST_WAIT_S = 1;
const MAX_WAIT_S = 15;
const SILENCE_MS = 40_000; // The gateway sends a comment each 15 s.

/**
 * `follow(url, {after, on: {kind: (data, id) => …}, status: (state, text) => …})`; returns a function that stops.
 * `status` is told `open`, `broken` (with why; it goes on by itself), `ended` (nothing more will come), `gone` (404).
 */
export function follow(url, { after = 0, on, status = () => {} }) {
  const stopped = new AbortController();
  run(url, { last: after, failures: 0 }, on, status, stopped.signal);
  return () => stopped.abort();
}

async function run(url, place, on, status, signal) {
  while (!signal.aborted) {
    try {
      const more = await read(url, place, on, status, signal);
      if (!more) return;
    } catch (error) {
      if (signal.aborted) return;
      place.failures++;
      status("broken", error.message);
    }
    await wait(Math.min(FIRST_WAIT_S * 2 ** Math.min(place.failures, 4), MAX_WAIT_S) * 500, signal);
  }
}

/** Until the stream ends; whether to ask for more. */
async function read(url, place, on, status, signal) {
  const quiet = new AbortController();
  let timer = setTimeout(() => quiet.abort(), SILENCE_MS);
  try {
    const headers = { Accept: "text/event-stream", ...(place.last ? { "Last-Event-ID": String(place.last) } : {}) };
    const response = await fetch(url, { headers, cache: "no-store", signal: AbortSignal.any([signal, quiet.signal]) }).catch(() => {
      throw new Error("The gateway does not answer.");
    });
    if (response.status === 204) return status("ended"), false;
    if (response.status === 404) return status("gone", await readError(response)), false;
    if (response.status === 401) document.dispatchEvent(new CustomEvent("signed-out"));
    if (!response.ok) throw new Error(await readError(response));
    status("open");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    while (true) {
      const { done, value } = await reader.read().catch(() => {
        throw new Error("The connection broke.");
      });
      if (done) return true; // At the job's end the next answer is 204.
      clearTimeout(timer);
      timer = setTimeout(() => quiet.abort(), SILENCE_MS);
      place.failures = 0;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) dispatch(block, place, on);
    }
  } finally {
    clearTimeout(timer);
    quiet.abort();
  }
}

function dispatch(block, place, on) {
  const fields = { event: "message", data: [], id: null };
  for (const line of block.split("\n")) {
    const [name, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trimStart()];
    if (name === "data") fields.data.push(value);
    else if (name in fields) fields[name] = value;
  }
  if (fields.id !== null) place.last = Number(fields.id);
  if (fields.data.length) on[fields.event]?.(JSON.parse(fields.data.join("\n")), fields.id === null ? null : Number(fields.id));
}

async function readError(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error ?? response.statusText;
  } catch {
    return text.slice(0, 300) || response.statusText;
  }
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
