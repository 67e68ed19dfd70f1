// Try it: an input that is asked about while it is drawn or typed, of one version or of two side by side.

import { path } from "../api.js";
import { find, h, pageData } from "../dom.js";
import { choose, chosen } from "../url.js";
import { Asker } from "../try/asking.js";
import { Panel } from "../try/answers.js";
import { FieldError } from "../try/fields.js";
import { JsonInput, makeInput } from "../try/inputs.js";
import { write } from "../try/snippets.js";
import { Why } from "../try/why.js";
import { offerCorrection } from "../try/wrong.js";

const page = pageData("try");
const KEPT = `modelyard-try-${page.name}`;
const rolloutKey = Math.random().toString(36).slice(2); // so that a canary's share does not change the version with each stroke
const WAITING = { image: "The answer appears here as you draw, or when you drop, paste or choose a picture.", text: "The answer appears here as you type." };
const what = WAITING[page.usage.inputs.length === 1 ? page.usage.inputs[0].kind : ""] ?? "The answer appears here as soon as the form is complete.";

let panels = [];
let input = null;
let lastCall = null;
let timer = 0;
let reading = 0;

// --- which versions -------------------------------------------------------------------------------------------------

const ANY = "*"; // whichever version answers clients that name none
const target = (choice) => {
  if (choice === ANY) return path("v1", "models", page.name);
  return /^\d+$/.test(choice) ? path("v1", "models", page.name, "versions", choice) : path("v1", "models", page.name, "labels", choice);
};
const titleOf = (choice) => page.targets.find((one) => one.value === choice)?.title ?? choice;

function chosenTargets() {
  const known = new Set(page.targets.map((one) => one.value));
  const wanted = chosen("version").filter((value) => known.has(value));
  return wanted.length ? wanted.slice(0, 2) : [page.targets[0].value];
}

function buildPanels() {
  panels.forEach(({ asker, why }) => [asker, why].forEach((one) => one.clear()));
  panels = chosenTargets().map((choice) => {
    const panel = new Panel(page, titleOf(choice), what);
    const headers = () => ({ "X-Capture": "no", ...(choice === ANY ? { "X-Rollout-Key": rolloutKey } : {}) });
    const why = new Why({ target: () => `${target(choice)}:predict`, headers });
    panel.foot.before(why.element);
    const asker = new Asker({
      target: () => `${target(choice)}:predict`,
      headers,
      onBusy: (yes) => panel.busy(yes),
      onAnswer: (answer, call) => {
        panel.show(answer);
        if (wantsWhy()) why.ask(call);
        offerCorrection(panel, call, page);
        panel.element.dispatchEvent(new CustomEvent("answered", { bubbles: true, detail: call.seq }));
        compare();
      },
      onError: (error, waitS) => fail(panel, error, waitS),
    });
    return { choice, panel, asker, why };
  });
  find("#panels").replaceChildren(...panels.map(({ panel }) => panel.element));
  find("#panels").classList.toggle("two", panels.length > 1);
  if (lastCall) panels.forEach(({ asker }) => asker.ask(lastCall));
}

function compare() {
  const verdict = find("#verdict");
  const read = panels.map(({ panel }) => panel.answer && panel.read);
  verdict.hidden = read.length < 2 || !read.every(Boolean);
  if (verdict.hidden) return;
  const same = JSON.stringify(read[0].label ?? read[0].values ?? read[0].text) === JSON.stringify(read[1].label ?? read[1].values ?? read[1].text);
  const text = same ? "Both say the same." : "They differ.";
  if (verdict.textContent !== text) verdict.textContent = text;
  verdict.className = `badge ${same ? "good" : "warn"}`;
}

function fail(panel, error, waitS) {
  if (error.status === 401) {
    panel.fail("The session or key has expired. Sign in again: what you drew or typed stays here.");
    panel.alert.append(" ", h("a", { href: `/signin?next=${encodeURIComponent(location.pathname + location.search)}` }, "Sign in"));
    return;
  }
  panel.fail(waitS === null ? error.message : `${error.message} Trying again in ${Math.max(1, Math.round(waitS))} s; nothing is lost.`);
  if (error.status === 400) input.mark(error.message);
}

// --- why ------------------------------------------------------------------------------------------------------------

const wantsWhy = () => document.getElementById("why")?.checked ?? false;

function startWhy() {
  const control = document.getElementById("why");
  if (!control) return;
  control.checked = chosen("why")[0] === "yes";
  control.addEventListener("change", () => {
    choose("why", control.checked ? "yes" : null);
    for (const { panel, why } of panels) {
      if (!control.checked) why.clear();
      else if (lastCall && panel.answer) why.ask(lastCall);
    }
  });
}

// --- what is asked --------------------------------------------------------------------------------------------------

function changed(pauseMs) {
  clearTimeout(timer);
  if (pauseMs) timer = setTimeout(ask, pauseMs);
  else ask();
}

async function ask() {
  const number = ++reading;
  const inputAlert = find("#input-alert");
  let call;
  try {
    call = await input.read();
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    if (number !== reading) return;
    inputAlert.textContent = page.usage.inputs.length > 1 ? error.message : "";
    for (const { asker, panel, why } of panels) {
      asker.clear();
      why.clear();
      panel.outlive();
    }
    return;
  }
  if (number !== reading) return; // read again meanwhile
  inputAlert.textContent = "";
  keep();
  lastCall = call;
  if (call) call.seq = number;
  document.dispatchEvent(new CustomEvent("asked", { detail: number }));
  for (const { asker, panel, why } of panels) {
    if (call) asker.ask(call);
    else {
      asker.clear();
      why.clear();
      panel.empty();
    }
  }
  compare();
  showCode();
}

function keep() {
  const saved = input.save();
  try {
    if (saved === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, saved);
  } catch {
    // There is no room for it; the page works without.
  }
}

async function buildInput() {
  const json = chosen("as")[0] === "json" || page.usage.inputs.length === 0;
  find("#as-json").checked = json;
  input = json ? new JsonInput(lastCall?.raw === null ? lastCall.body : (page.usage.example ?? { instances: [] }), changed) : makeInput(page.usage, changed);
  find("#input").replaceChildren(input.element);
  const saved = sessionStorage.getItem(KEPT);
  if (saved && !json) {
    try {
      input.restore(saved);
    } catch {
      sessionStorage.removeItem(KEPT); // of another release of the model
    }
  }
  await Promise.all((input.parts ?? []).map((part) => part.picture?.ready));
  changed(0);
}

// --- the same call in code ------------------------------------------------------------------------------------------

let code = null;
let codeTimer = 0;

function showCode() {
  clearTimeout(codeTimer);
  codeTimer = setTimeout(writeCode, 150);
}

async function writeCode() {
  const place = find("#code");
  const language = chosen("code")[0] ?? "curl";
  for (const button of document.querySelectorAll("[data-language]")) button.setAttribute("aria-pressed", String(button.dataset.language === language));
  if (!lastCall) {
    place.textContent = "# Appears with the first input.";
    return;
  }
  const { choice } = panels[0];
  const which = choice === ANY ? {} : /^\d+$/.test(choice) ? { version: choice } : { label: choice };
  code = await write(lastCall, `${location.origin}${target(choice)}:predict`, { model: page.name, keyed: page.keyed, ...which });
  place.textContent = code[language] ?? code.curl;
  const link = find("#code-file");
  if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
  link.hidden = !code.file;
  if (code.file) {
    link.href = URL.createObjectURL(code.file.blob);
    link.download = code.file.name;
    link.textContent = `Save ${code.file.name}`;
  }
}

// --- the page -------------------------------------------------------------------------------------------------------

function start() {
  const [first, second] = [find("#version"), find("#with")];
  const now = chosenTargets();
  first.value = now[0];
  second.value = now[1] ?? "none";
  const update = () => {
    choose("version", second.value === "none" || second.value === first.value ? first.value : [first.value, second.value]);
    buildPanels();
    compare();
    showCode();
  };
  first.addEventListener("change", update);
  second.addEventListener("change", update);
  find("#as-json").addEventListener("change", (event) => {
    choose("as", event.target.checked ? "json" : null);
    buildInput();
  });
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      choose("code", button.dataset.language);
      writeCode();
    });
  }
  document.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (file && input.paste(file)) event.preventDefault();
  });
  startWhy();
  buildPanels();
  buildInput();
}

start();
