// What is chosen on a page lives in its address, so that it can be shared, and stays when the page is loaded again.

export const chosen = (name) => new URL(location.href).searchParams.getAll(name);

/** Sets values of a name in the query, or removes it; `push` makes a step for the back button. */
export function choose(name, values, { push = false } = {}) {
  const url = new URL(location.href);
  url.searchParams.delete(name);
  for (const value of [values].flat()) if (value !== null && value !== "") url.searchParams.append(name, value);
  history[push ? "pushState" : "replaceState"](null, "", url);
}
