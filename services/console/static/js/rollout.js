// Dialogs that change a model's rollout: they know which version was stable when they were opened, so that the second
// of two people is told what the first one did, and sees it.

import { refresh } from "./refresh.js";

const seenStable = () => document.querySelector("[data-stable]")?.dataset.stable ?? "";

/** Puts values into a dialog's fields and texts of these names. */
function fill(dialog, values) {
  for (const [name, value] of Object.entries(values)) {
    for (const field of dialog.querySelectorAll(`[name="${CSS.escape(name)}"]`)) {
      if (field.type === "radio") field.checked = field.value === value;
      else field.value = value;
    }
    for (const place of dialog.querySelectorAll(`[data-show="${CSS.escape(name)}"]`)) place.textContent = value;
  }
  const forced = dialog.querySelector("[data-forced]");
  if (forced) forced.hidden = !values.objection;
}

function open(dialog, opener) {
  const values = { stable: seenStable(), ...JSON.parse(opener.dataset.fill ?? "{}") };
  for (const alert of dialog.querySelectorAll('[role="alert"]')) alert.textContent = "";
  for (const force of dialog.querySelectorAll('[name="force"]')) force.checked = false;
  fill(dialog, values);
  look(dialog);
  for (const steps of dialog.querySelectorAll('[name="canary.steps"]')) weighSteps(steps);
}

/** Notes which version is stable now, as the reader sees it. */
function look(dialog) {
  for (const field of dialog.querySelectorAll("[data-seen]")) field.value = seenStable();
}

function showShare(range) {
  const output = range.closest(".slider")?.querySelector("output");
  if (output) output.textContent = range.disabled ? "steps" : `${range.value} %`;
}

/** With steps the first one is the share: the slider rests. */
function weighSteps(steps) {
  const range = steps.form.querySelector('input[type="range"]');
  if (!range) return;
  range.disabled = steps.value.trim() !== "";
  showShare(range);
}

/** `{"labels": {NAME: VERSION}}`: the field's value is the name. */
function composeLabel(form) {
  const [name, version] = [form.querySelector("#label-name").value, form.querySelector("#label-version").value];
  form.dataset.body = JSON.stringify({ labels: { [name]: version === "" ? null : Number(version) } });
}

export function startRollout() {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    const dialog = opener && document.getElementById(opener.dataset.open);
    if (dialog) open(dialog, opener);
  });
  document.addEventListener("input", (event) => {
    if (event.target.type === "range") showShare(event.target);
    if (event.target.name === "canary.steps") weighSteps(event.target);
  });
  document.addEventListener("submit", (event) => event.target.matches("[data-label-form]") && composeLabel(event.target), true);
  document.addEventListener("refused", async (event) => {
    if (event.detail.status !== 409) return;
    await refresh();
    look(event.target); // who asks again has seen what is stable now
    fill(event.target, { stable: seenStable() });
  });
}
