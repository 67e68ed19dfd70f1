// The form for a new job: model and recipe live in the address; only what was changed is sent; an error marks its field.

import { readForm } from "../actions.js";
import { find } from "../dom.js";
import { refresh } from "../refresh.js";
import { choose } from "../url.js";

const section = document.getElementById("new");

/** Another model or recipe: its fields are fetched, and what was typed into fields of the same name stays. */
async function chooseAnother(field) {
  if (field.id === "model") choose("recipe", null);
  choose(field.id, field.value, { push: true });
  section.setAttribute("aria-busy", "true");
  await refresh("#new");
  section.removeAttribute("aria-busy");
}

function fields() {
  return [...section.querySelectorAll("[data-field]")];
}

/** Marks what differs from the recipe, counts it where it is hidden, and shows the request as curl. */
function showChanged() {
  for (const field of fields()) field.toggleAttribute("data-changed", find("input, select", field).value !== "");
  const form = document.getElementById("new-form");
  const command = document.getElementById("as-curl");
  if (!form || !command) return;
  try {
    const [, path] = form.dataset.api.split(" ");
    const body = JSON.stringify(readForm(form)).replaceAll("'", "'\\''");
    command.textContent = `curl -d '${body}' ${location.origin}${path}`;
  } catch (error) {
    command.textContent = error.message;
  }
}

/** Shows only fields whose name or description has the words. */
function filterFields(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  for (const field of fields()) field.hidden = !wanted.every((word) => field.textContent.toLowerCase().includes(word));
  if (wanted.length) section.querySelector(".more-values")?.setAttribute("open", "");
}

/** The server names the recipe key, or the field, that it refuses. */
function markRefused(message) {
  const [, key] = /recipe key '([^']+)'/.exec(message) ?? [];
  const [, name] = /^field '([^']+)'/.exec(message) ?? [];
  const form = document.getElementById("new-form");
  const input = [...form.elements].find((one) => one.name === `overrides.${key}` || (name && one.name === name));
  if (!input) return;
  input.closest("details")?.setAttribute("open", "");
  input.setAttribute("aria-invalid", "true");
  input.focus();
}

section?.addEventListener("change", (event) => {
  if (event.target.closest("#choose")) chooseAnother(event.target);
});
section?.addEventListener("input", (event) => {
  if (event.target.id === "filter") filterFields(event.target.value);
  else showChanged();
});
section?.addEventListener("invalid", (event) => event.target.closest("details")?.setAttribute("open", ""), true);
section?.addEventListener("reset", () => setTimeout(showChanged));
section?.addEventListener("refused", (event) => markRefused(event.detail.message));
addEventListener("popstate", () => refresh("#new"));
if (section) {
  document.addEventListener("refreshed", showChanged);
  showChanged();
}
