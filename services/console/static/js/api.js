// The public API, as any client has it. Errors are ApiError, with a text that can be shown.

const AWAY = "The gateway does not answer. It may be restarting.";
const TIMEOUT_MS = 60_000;
export const SESSION = "/api/session";

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

/** Any request. `body`: a value for JSON, or a Blob, FormData or string with its `type`. Returns the Response.
 * A session that has ended is renewed by the person who is there (session.js), and the request sent once more. */
export async function send(method, url, options = {}) {
  const response = await attempt(method, url, options);
  if (response.ok) return response;
  if (url === SESSION && response.status === 401 && method === "DELETE") return new Response(null, { status: 204 }); // it had ended
  const again = (response.status === 401 && url !== SESSION && (await askToSignIn())) || (response.status === 403 && (await renewToken(method)));
  const last = again ? await attempt(method, url, options) : response;
  if (!last.ok) throw await readError(last, url);
  return last;
}

async function attempt(method, url, { body, type, headers = {}, signal, timeout = TIMEOUT_MS }) {
  const sent = { method, headers: { Accept: "application/json", ...headers }, cache: "no-store" };
  sent.signal = AbortSignal.any([AbortSignal.timeout(timeout), ...(signal ? [signal] : [])]);
  const token = findToken()?.content;
  if (token && method !== "GET") sent.headers["X-CSRF-Token"] = token;
  if (body !== undefined) {
    const raw = body instanceof Blob || body instanceof FormData || type;
    sent.body = raw ? body : JSON.stringify(body);
    if (type) sent.headers["Content-Type"] = type;
    else if (!raw) sent.headers["Content-Type"] = "application/json";
  }
  return fetch(url, sent).catch((error) => {
    if (signal?.aborted) throw error;
    throw new ApiError(error.name === "TimeoutError" ? `No answer within ${timeout / 1000} s.` : AWAY);
  });
}

const findToken = () => document.querySelector('meta[name="csrf-token"]');

/** Another session's token, which every later request sends. */
export function setToken(token) {
  const meta = findToken() ?? document.head.appendChild(Object.assign(document.createElement("meta"), { name: "csrf-token" }));
  meta.content = token;
}

function askToSignIn() {
  const detail = { again: null };
  document.dispatchEvent(new CustomEvent("signed-out", { detail }));
  return detail.again;
}

/** Whether the page had the token of an older session of the same person, as after signing in in another tab. */
async function renewToken(method) {
  const who = document.getElementById("who");
  if (method === "GET" || !who) return false;
  const session = await attempt("GET", SESSION, {}).then((response) => (response.ok ? response.json() : null), () => null);
  if (!session?.csrf_token || session.csrf_token === findToken()?.content || session.name !== who.dataset.name) return false;
  setToken(session.csrf_token);
  return true;
}

async function readError(response, url) {
  const text = await response.text();
  let message = text.slice(0, 500) || response.statusText;
  try {
    message = JSON.parse(text).error ?? message;
  } catch {
    // A proxy answers in its own form.
  }
  if (response.status === 401 && url !== SESSION) message = "You are signed out. Sign in, and try again.";
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
