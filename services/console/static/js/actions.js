// Forms that call the API: `<form data-api="POST /api/models/x:rollback" data-done="Rolled back.">`.
//
// A field's name is its place in the body, with dots between the levels; `data-type` is number, json, boolean, list
// (of words, by commas), or many (a list of those checkboxes of one name that are ticked). Empty fields that are not required are left out; `data-body='{"a": 1}'` is what is always sent.
// An error stands in the form's own `[role=alert]`, and what was typed stays. Afterwards the page's parts are refreshed,
// or `data-then="/path/{id}"` is opened, with values of the response.
// `data-confirm="…"` asks first. `<dialog>`s open by `<button data-open="ID">` and close by `<button data-close>`.

import { api, send } from "./api.js";
import { refresh } from "./refresh.js";
import { announce } from "./toast.js";

const READERS = {
  number: (field) => readNumber(field),
  json: (field) => readJson(field),
  boolean: (field) => (field.type === "checkbox" ? field.checked : field.value === "true"),
  many: (field) => [field.value],
  list: (field) => field.value.split(",").map((word) => word.trim()).filter(Boolean),
};

class FieldError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

function labelOf(field) {
  return field.labels?.[0]?.textContent.trim() || field.name;
}

function readNumber(field) {
  const value = Number(field.value);
  if (!Number.isFinite(value)) throw new FieldError(field, `${labelOf(field)}: expected a number; received ${field.value}`);
  return value;
}

function readJson(field) {
  try {
    return JSON.parse(field.value);
  } catch (error) {
    throw new FieldError(field, `${labelOf(field)}: expected JSON: ${error.message}`);
  }
}

/** The body that a form's fields make. */
export function readForm(form) {
  const body = JSON.parse(form.dataset.body ?? "{}");
  for (const field of form.elements) {
    if (!field.name || field.disabled || ((field.type === "radio" || field.type === "checkbox") && !field.checked && field.dataset.type !== "boolean")) continue;
    if (field.value === "" && !field.required && field.dataset.type !== "boolean") continue;
    put(body, field.name.split("."), (READERS[field.dataset.type] ?? ((any) => any.value))(field));
  }
  return body;
}

function put(body, names, value) {
  const [first, ...rest] = names;
  if (Array.isArray(value) && Array.isArray(body[first])) body[first].push(...value);
  else if (rest.length) put((body[first] ??= {}), rest, value);
  else body[first] = value;
}

async function submit(form) {
  const alert = form.querySelector('[role="alert"]');
  const button = form.querySelector('[type="submit"], button:not([type])');
  const [method, url] = form.dataset.api.split(" ");
  if (alert) alert.textContent = "";
  form.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
  button?.setAttribute("aria-busy", "true");
  if (button) button.disabled = true;
  try {
    const answer = method === "DELETE" ? await api.delete(url) : await send(method, url, { body: readForm(form) }).then(readAnswer);
    finish(form, answer);
  } catch (error) {
    if (error.field) {
      error.field.setAttribute("aria-invalid", "true");
      error.field.focus();
    }
    if (alert) alert.textContent = error.message;
    else announce(error.message, "bad");
    form.dispatchEvent(new CustomEvent("refused", { bubbles: true, detail: error }));
  } finally {
    button?.removeAttribute("aria-busy");
    if (button) button.disabled = false;
  }
}

async function readAnswer(response) {
  return response.status === 204 ? null : response.json();
}

function finish(form, answer) {
  form.dispatchEvent(new CustomEvent("done", { bubbles: true, detail: answer }));
  form.closest("dialog")?.close();
  if (form.dataset.then) {
    location.assign(form.dataset.then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name])));
    return;
  }
  if (form.dataset.done) announce(form.dataset.done);
  if (form.hasAttribute("data-reset")) form.reset();
  refresh();
}

function confirmed(form) {
  return !form.dataset.confirm || window.confirm(form.dataset.confirm);
}

export function startActions() {
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-api]");
    if (!form) return;
    event.preventDefault();
    if (confirmed(form)) submit(form);
  });
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) document.getElementById(opener.dataset.open)?.showModal();
    event.target.closest("[data-close]")?.closest("dialog")?.close();
    const copier = event.target.closest("[data-copy]");
    if (copier) copy(copier);
  });
}

/** Copies what stands in the element that `data-copy` names; where a browser forbids that, as without TLS, selects it. */
async function copy(button) {
  const element = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(element.textContent);
    announce("Copied.");
  } catch {
    getSelection().selectAllChildren(element);
    announce("This browser copies nothing from here by itself. It is selected: press Ctrl+C.", "bad");
  }
}
