// Light or dark: the system's, until the reader chooses.

const KEY = "modelyard-theme";
const root = document.documentElement;

const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function show(theme) {
  if (theme) root.dataset.theme = theme;
  document.dispatchEvent(new CustomEvent("theme"));
}

export function startTheme() {
  show(localStorage.getItem(KEY));
  document.getElementById("theme")?.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    localStorage.setItem(KEY, theme);
    show(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("theme")));
}

/** The value of a colour token now, as charts need it: `colour("--run-1")`. */
export function colour(token) {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
