// Times relative to now, kept up to date; the exact one is the tooltip.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** "2 h 15 min": the two largest units of a number of seconds. */
export function duration(seconds) {
  let rest = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

/** "3 min ago", "in 2 h". */
export function relative(moment, now = Date.now()) {
  const seconds = (moment - now) / 1000;
  if (Math.abs(seconds) < 5) return "now";
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size);
  const count = `${Math.floor(Math.abs(seconds) / size)} ${unit}`;
  return seconds < 0 ? `${count} ago` : `in ${count}`;
}

function update() {
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.textContent = relative(moment.getTime());
    element.title = moment.toLocaleString();
  }
}

export function startTimes() {
  update();
  setInterval(update, 5000);
  document.addEventListener("refreshed", update);
}
