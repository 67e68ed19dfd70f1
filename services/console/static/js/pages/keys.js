// Keys: a new one is shown once; which one is revoked is asked for by name.

import { find } from "../dom.js";
import { announce } from "../toast.js";

const form = document.getElementById("create-form");
const shown = document.getElementById("new-key");

form?.addEventListener("done", ({ detail: key }) => {
  find("#new-name").textContent = key.name;
  find("#new-secret").textContent = key.key;
  shown.showModal();
});

// It is shown once: neither the page nor the history of the tab keeps it.
shown?.addEventListener("close", () => {
  find("#new-secret").textContent = "";
});

// Escape would close it before it was copied.
shown?.addEventListener("cancel", (event) => event.preventDefault());

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-revoke]");
  if (!button) return;
  const { revoke: prefix, name, own } = button.dataset;
  find("#revoke-form").dataset.api = `DELETE /api/keys/${encodeURIComponent(prefix)}`;
  find("#revoke-form").dataset.name = name;
  find("#revoke-name").textContent = name;
  find("#revoke-prefix").textContent = prefix;
  find("#revoke-own").hidden = own !== "true";
  find("#revoke-key").showModal();
});

document.getElementById("revoke-form")?.addEventListener("done", ({ target }) => announce(`Revoked the key of ${target.dataset.name}.`));
