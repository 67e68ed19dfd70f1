// A session that ends while a page is open: one signs in again on the page, and goes on. What was typed stays.
//
// "signed-out" asks for it (api.js, refresh.js; modules whose stream was refused may dispatch it, too); "signed-in" says
// that it goes on. A request of api.js waits for it, and is sent once more.

import { SESSION, api, setToken } from "./api.js";
import { h } from "./dom.js";
import { announce } from "./toast.js";

let dialog = null;
let pending = null; // { promise, settle }: what waits for the dialog
let dismissed = false;

/** Asks for a key; true when the same person is signed in again, false when it was closed, or somebody else is. */
function ask() {
  if (!pending) {
    let settle;
    const promise = new Promise((resolve) => (settle = resolve));
    pending = { promise, settle };
    dialog ??= build();
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("input").focus();
  }
  return pending.promise;
}

function build() {
  const alert = h("p", { role: "alert" });
  const input = h("input", { id: "again-key", name: "key", type: "password", required: true, autocomplete: "current-password", spellcheck: "false", placeholder: "myd_…" });
  const form = h(
    "form",
    { onsubmit: (event) => submit(event, input, alert) },
    h("h2", { id: "again-title" }, "Sign in again"),
    h("p", {}, "Your session has ended, or its key has. Nothing on this page is lost: sign in, and it goes on."),
    h("div", { class: "field" }, h("label", { for: "again-key" }, "API key"), input),
    alert,
    h("div", { class: "row" }, h("button", { class: "primary" }, "Sign in"), h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Not now")),
  );
  form.className = "stack";
  return h("dialog", { id: "again", "aria-labelledby": "again-title", onclose: () => pending && finish(null) }, form);
}

async function submit(event, input, alert) {
  event.preventDefault();
  alert.textContent = "";
  try {
    finish(await api.post(SESSION, { key: input.value.trim() }));
    input.value = "";
  } catch (error) {
    alert.textContent = error.message;
    input.focus();
  }
}

function finish(session) {
  const waiting = pending;
  pending = null;
  dismissed = !session;
  showBanner(dismissed && waiting);
  if (dialog.open) dialog.close();
  const same = session ? adopt(session) : false;
  if (session) document.dispatchEvent(new CustomEvent("signed-in", { detail: session }));
  waiting?.settle(same);
}

/** Uses a session that is not the page's; whether it is of the same person with the same role. */
export function adopt(session) {
  setToken(session.csrf_token);
  const who = document.getElementById("who");
  const same = !who || (who.dataset.name === session.name && who.dataset.role === session.role);
  if (same) announce(`Signed in as ${session.name}.`);
  else announce(`You are ${session.name} now, with the role ${session.role}. Load the page again to see what you may do.`, "bad");
  if (who) {
    Object.assign(who.dataset, { name: session.name, role: session.role });
    who.textContent = `${session.name} · ${session.role}`;
  }
  return same;
}

function showBanner(shown) {
  document.getElementById("signed-out")?.remove();
  if (!shown) return;
  const button = h("button", { type: "button", onclick: () => ask() }, "Sign in");
  document.querySelector("main").before(h("div", { class: "banner", id: "signed-out", role: "status" }, "You are signed out; this page shows what it knew.", button));
}

/** In another tab, one may have signed in already. */
async function look() {
  if (document.hidden || !(pending || dismissed)) return;
  const session = await api.get(SESSION).catch(() => null);
  if (session?.csrf_token) finish(session);
}

export function startSession() {
  if (document.querySelector("main").dataset.page === "signin") return;
  document.addEventListener("signed-out", ({ detail }) => {
    if (detail) detail.again = ask();
    else if (!dismissed) ask();
  });
  document.addEventListener("visibilitychange", look);
  window.addEventListener("focus", look);
}
