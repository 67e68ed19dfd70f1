// The log of a job: follows its end unless the reader scrolled up; searched, and by stage.

import { path, send } from "../api.js";
import { find, h } from "../dom.js";
import { chosen, choose } from "../url.js";

const EVERY_MS = 2000;
const MAX_LINES = 4000;
const STAGE_LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\w+): /;
const NEAR_END_PX = 24;

/** Shows the log of a job; returns `{update()}`, which fetches what was added, but not more often than is useful. */
export function showLog(job) {
  const [place, search, stages, found, follower] = ["#log", "#log-search", "#log-stage", "#log-found", "#log-follow"].map((name) => find(name));
  let lines = [];
  let [next, open, gap, loading, again, at] = [0, "", false, false, false, 0];
  let following = true;
  search.value = chosen("find")[0] ?? "";
  const [wanted] = chosen("stage");
  if (wanted) offer(wanted, wanted);
  listStages();
  stages.value = wanted ?? "";

  function offer(value, text) {
    const known = [...stages.options].find((option) => option.value === value);
    if (!known) stages.append(h("option", { value }, text));
    else if (known.textContent !== text) known.textContent = text;
  }

  /** The stages that have begun, with their times, as the page's list of stages tells them. */
  function listStages() {
    for (const step of document.querySelectorAll("#status .stages li:not(.next)")) {
      const [name, took] = [step.querySelector("span").textContent, step.dataset.took];
      offer(name, took ? `${name} · ${took}` : name);
    }
  }

  async function load() {
    if (loading) {
      again = true;
      return;
    }
    [loading, again, at] = [true, false, performance.now()];
    try {
      const response = await send("GET", `${path("api", "jobs", job)}/log?after=${next}`);
      next = Number(response.headers.get("X-Log-Next"));
      gap ||= response.headers.has("X-Log-Gap");
      add(await response.text());
    } catch (error) {
      if (!lines.length) place.replaceChildren(h("span", { class: "muted" }, error.message));
    } finally {
      loading = false;
      if (again) later();
    }
  }

  let timer = 0;
  function later() {
    clearTimeout(timer);
    timer = setTimeout(load, Math.max(0, EVERY_MS - (performance.now() - at)));
  }

  /** New text; its last line may still grow. */
  function add(text) {
    if (!text && lines.length) return;
    if (open !== "") lines.pop();
    const added = (open + text).split("\n");
    open = added.at(-1);
    if (open === "") added.pop();
    let stage = lines.at(-1)?.stage ?? "";
    for (const line of added) {
      stage = STAGE_LINE.exec(line)?.[1] ?? stage;
      lines.push({ text: line, stage });
    }
    lines = lines.slice(-MAX_LINES);
    write();
  }

  function write() {
    const words = search.value.toLowerCase();
    const shown = lines.filter((line) => !stages.value || line.stage === stages.value);
    const hits = words ? shown.filter((line) => line.text.toLowerCase().includes(words)) : shown;
    found.textContent = words ? `${hits.length} of ${shown.length} lines` : gap ? "Older lines are not kept." : "";
    const rows = hits.map((line) => h("span", { class: STAGE_LINE.test(line.text) ? "stage-line" : null }, mark(line.text, words), "\n"));
    place.replaceChildren(...(rows.length ? rows : [h("span", { class: "muted" }, words ? "No line has this." : stages.value ? "This stage wrote nothing." : "It has written nothing.")]));
    if (following) place.scrollTop = place.scrollHeight;
  }

  function mark(text, words) {
    if (!words) return text;
    const parts = [];
    let from = 0;
    const lower = text.toLowerCase();
    for (let hit = lower.indexOf(words); hit >= 0; hit = lower.indexOf(words, from)) {
      parts.push(text.slice(from, hit), h("mark", {}, text.slice(hit, hit + words.length)));
      from = hit + words.length;
    }
    return [...parts, text.slice(from)];
  }

  place.addEventListener("scroll", () => {
    following = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR_END_PX;
    follower.hidden = following;
  });
  follower.addEventListener("click", () => {
    following = true;
    place.scrollTop = place.scrollHeight;
  });
  search.addEventListener("input", () => (choose("find", search.value || null), write()));
  stages.addEventListener("change", () => (choose("stage", stages.value || null), write()));
  document.addEventListener("refreshed", listStages);
  load();
  return { update: later };
}
