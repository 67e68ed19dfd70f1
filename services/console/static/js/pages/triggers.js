// The form of a trigger: its name is a part of the address, and only the chosen condition is sent.

import { path } from "../api.js";
import { find } from "../dom.js";

const dialog = document.getElementById("edit");

function startForm() {
  const form = find("#edit-form");
  const name = find("#trigger-name");
  const kind = find("#kind");
  const title = find("#edit-title");
  const base = form.dataset.base;

  function showKind() {
    for (const part of form.querySelectorAll("[data-of]")) {
      part.hidden = part.dataset.of !== kind.value;
      for (const field of part.querySelectorAll("[name]")) field.disabled = part.hidden;
    }
  }

  function open(text, body, given) {
    form.reset();
    form.querySelector('[role="alert"]').textContent = "";
    title.textContent = text;
    name.value = given.name;
    name.readOnly = Boolean(given.name);
    kind.value = given.kind || "cron";
    const { overrides, ...job } = body.job ?? {};
    form.dataset.body = JSON.stringify({ job }); // what has no field stays as it was set
    for (const [field, value] of values(overrides ? { ...body, job: { ...job, overrides } } : body)) write(field, value);
    showKind();
    dialog.showModal();
  }

  function write(field, value) {
    const element = form.elements[field];
    if (!element) return;
    if (element.type === "checkbox") element.checked = value;
    else element.value = typeof value === "object" ? JSON.stringify(value) : value;
  }

  kind.addEventListener("change", showKind);
  form.addEventListener("submit", () => (form.dataset.api = `PUT ${base}${path(name.value)}`));
  find("#make").addEventListener("click", () => open("Make a trigger", {}, { name: "", kind: "cron" }));
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-change]");
    if (button) open(`Change ${button.dataset.name}`, JSON.parse(button.dataset.change), { name: button.dataset.name, kind: button.dataset.kind });
  });
  showKind();
}

/** Names and values of fields: `job.recipe`, and `job.overrides` as a whole. */
function* values(body, prefix = "") {
  for (const [name, value] of Object.entries(body)) {
    const nested = value && typeof value === "object" && !Array.isArray(value) && name !== "overrides";
    if (nested) yield* values(value, `${prefix}${name}.`);
    else yield [prefix + name, value];
  }
}

if (dialog) startForm();
