// The list of jobs: what is chosen to be compared lives in the address, and older jobs come as the reader scrolls.

import { jobColours } from "../charts/job_colours.js";
import { find } from "../dom.js";
import { announce } from "../toast.js";
import { chosen, choose } from "../url.js";

const form = document.getElementById("compare");
const picked = new Set(chosen("pick"));

function show() {
  const colours = jobColours([...picked]);
  for (const box of document.querySelectorAll('input[name="id"]')) {
    box.checked = picked.has(box.value);
    const row = box.closest("tr");
    row.classList.toggle("chosen", box.checked);
    if (box.checked) row.style.setProperty("--job-colour", `var(${colours.get(box.value)})`);
  }
  const count = picked.size;
  find("#picked").textContent = count ? `${count} ${count === 1 ? "job" : "jobs"} chosen${count === 1 ? "; choose another to compare it with" : ""}.` : "Choose jobs to compare them in the same charts.";
  find("#unpick").hidden = !count;
  find("#compare-button").disabled = !count;
  choose("pick", [...picked]);
}

function start() {
  const most = Number(form.dataset.most);
  document.addEventListener("change", (event) => {
    if (!event.target.matches('input[name="id"]')) return;
    if (event.target.checked && picked.size >= most) announce(`At most ${most} jobs can be compared.`, "bad");
    else if (event.target.checked) picked.add(event.target.value);
    else picked.delete(event.target.value);
    show();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault(); // chosen jobs of other pages go along
    location.assign(`/jobs/compare?${[...picked].map((id) => `id=${encodeURIComponent(id)}`).join("&")}`);
  });
  find("#unpick").addEventListener("click", () => {
    picked.clear();
    show();
  });
  keepRows();
  document.addEventListener("refreshed", show);
  show();
  startScroll();
}

/** A row that new ones push out of the newest page goes on among the older ones, if those are shown. */
function keepRows() {
  let before = [];
  document.addEventListener("before-refresh", () => {
    before = [...find("#rows").rows].map((row) => row.cloneNode(true));
  });
  document.addEventListener("refreshed", () => {
    const older = find("#rows").nextElementSibling;
    older?.prepend(...before.filter(({ id }) => !document.getElementById(id)));
  });
}

/** Adds the next page's rows when the end of the list comes near. */
function startScroll() {
  let loading = false;
  const more = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && load(), { rootMargin: "400px" });
  const older = document.getElementById("older");
  if (older?.href) more.observe(older);

  async function load() {
    const link = document.getElementById("older");
    if (loading || !link?.href) return;
    loading = true;
    try {
      const response = await fetch(link.href, { headers: { Accept: "text/html" } });
      if (!response.ok) throw new Error(response.statusText);
      const next = new DOMParser().parseFromString(await response.text(), "text/html");
      // Older rows lie in a body of their own, which the refresh of the newest leaves alone.
      const rows = document.importNode(next.getElementById("rows"), true);
      rows.id = `rows-${document.querySelectorAll("tbody").length}`;
      rows.removeAttribute("data-refresh");
      find("table.jobs").append(rows);
      more.unobserve(link);
      link.replaceWith(document.importNode(next.getElementById("older"), true));
      show();
      const following = document.getElementById("older");
      if (following.href) more.observe(following);
    } catch {
      more.unobserve(link); // it stays a link
    } finally {
      loading = false;
    }
  }
}

if (form) start();
