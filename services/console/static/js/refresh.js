// Keeps parts of a page up to date: `<section id="x" data-refresh="3">` is fetched each 3 s, with the page's own address,
// and morphed, so that focus, scroll, open details and typed text stay. Nothing happens while the tab is hidden.

import htmx from "../vendor/htmx.js";
import { announce } from "./toast.js";

const MAX_WAIT_S = 30;
let failures = 0;
let timer = 0;
let latest = 0;
const wanted = new Set(); // selectors of what was asked for and has not been shown yet
let signedOut = false;

/** Refreshes now: all parts, or those of `selector`. One that begins meanwhile shows what this one would have. */
export async function refresh(selector = "[data-refresh]") {
  if (signedOut) return;
  wanted.add(selector);
  const number = ++latest;
  const text = await load();
  if (text === null || number !== latest) return;
  const parts = document.querySelectorAll([...wanted].join());
  wanted.clear();
  for (const part of parts) {
    const detail = { part };
    if (!part.dispatchEvent(new CustomEvent("before-refresh", { bubbles: true, cancelable: true, detail }))) continue;
    const select = `#${CSS.escape(part.id)}`;
    await htmx.swap({ text, target: part, select, swap: "outerMorph", sourceElement: part, transition: false });
  }
  document.dispatchEvent(new CustomEvent("refreshed"));
}

async function load() {
  try {
    const headers = { Accept: "text/html", "X-Refresh": "true" };
    const response = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(15_000) });
    if (response.status === 401 || response.redirected) {
      document.dispatchEvent(new CustomEvent("signed-out"));
      return null;
    }
    if (response.status >= 500) throw new Error(response.statusText);
    setFailures(0);
    return response.ok ? await response.text() : null;
  } catch {
    setFailures(failures + 1);
    return null;
  }
}

function setFailures(count) {
  if (failures && !count) announce("The gateway answers again.");
  failures = count;
  const banner = document.getElementById("away");
  if (banner) banner.hidden = !failures;
}

/** Seconds until the next refresh: the shortest that a part asks for, longer while the gateway is away; null for never. */
function nextWait() {
  const intervals = [...document.querySelectorAll("[data-refresh]")].map((part) => Number(part.dataset.refresh));
  if (!intervals.length) return null;
  return failures ? Math.min(2 ** (failures - 1), MAX_WAIT_S) : Math.min(...intervals);
}

function schedule() {
  clearTimeout(timer);
  const wait = nextWait();
  if (wait === null) return;
  timer = setTimeout(async () => {
    if (!document.hidden) await refresh().catch((error) => console.error(error));
    schedule();
  }, wait * 1000);
}

export function startRefresh() {
  document.addEventListener("visibilitychange", () => !document.hidden && refresh().then(schedule));
  document.addEventListener("signed-out", () => (signedOut = true));
  document.addEventListener("signed-in", () => {
    signedOut = false;
    refresh();
  });
  document.getElementById("try-now")?.addEventListener("click", () => refresh().then(schedule));
  schedule();
}
