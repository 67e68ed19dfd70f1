// The public API, as any client has it. Errors are ApiError, with a text that can be shown.

const AWAY = "The gateway does not answer. It may be restarting.";
const TIMEOUT_MS = 60_000;

export class ApiError extends Error {
  constructor(message, status = 0, { retryAfter = null, requestId = null } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status; // 0: no answer at all
    this.retryAfter = retryAfter; // seconds
    this.requestId = requestId;
  }
}

/** Path of its parts, each encoded: `path("api", "models", name)`. */
export const path = (...parts) => "/" + parts.map((part) => encodeURIComponent(part)).join("/");

/** Any request. `body`: a value for JSON, or a Blob, FormData or string with its `type`. Returns the Response. */
export async function send(method, url, { body, type, headers = {}, signal, timeout = TIMEOUT_MS } = {}) {
  const sent = { method, headers: { Accept: "application/json", ...headers }, cache: "no-store" };
  sent.signal = AbortSignal.any([AbortSignal.timeout(timeout), ...(signal ? [signal] : [])]);
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  if (token && method !== "GET") sent.headers["X-CSRF-Token"] = token;
  if (body !== undefined) {
    const raw = body instanceof Blob || body instanceof FormData || type;
    sent.body = raw ? body : JSON.stringify(body);
    if (type) sent.headers["Content-Type"] = type;
    else if (!raw) sent.headers["Content-Type"] = "application/json";
  }
  const response = await fetch(url, sent).catch((error) => {
    if (signal?.aborted) throw error;
    throw new ApiError(error.name === "TimeoutError" ? `No answer within ${timeout / 1000} s.` : AWAY);
  });
  if (!response.ok) throw await readError(response);
  return response;
}

async function readError(response) {
  const text = await response.text();
  let message = text.slice(0, 500) || response.statusText;
  try {
    message = JSON.parse(text).error ?? message;
  } catch {
    // A proxy answers in its own form.
  }
  if (response.status === 401) document.dispatchEvent(new CustomEvent("signed-out"));
  const { headers } = response;
  const retryAfter = Number(headers.get("Retry-After")) || null;
  return new ApiError(message, response.status, { retryAfter, requestId: headers.get("X-Request-Id") });
}

const json = (response) => (response.status === 204 ? null : response.json());

export const api = {
  get: async (url, options) => json(await send("GET", url, options)),
  text: async (url, options) => (await send("GET", url, options)).text(),
  post: async (url, body, options) => json(await send("POST", url, { body, ...options })),
  put: async (url, body, options) => json(await send("PUT", url, { body, ...options })),
  delete: async (url, options) => json(await send("DELETE", url, options)),
};
