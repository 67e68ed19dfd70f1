// What every page needs. Pages with a module of their own name it in `<main data-module>`.

import "../vendor/htmx.js";
import { startActions } from "./actions.js";
import { startRefresh } from "./refresh.js";
import { startSession } from "./session.js";
import { startTheme } from "./theme.js";
import { startTimes } from "./time.js";
import { announce } from "./toast.js";

startTheme();
startTimes();
startActions();
startSession();
startRefresh();
showCurrent();

const { module } = document.querySelector("main").dataset;
if (module) {
  import(`./pages/${module}.js`).catch((error) => {
    console.error(error);
    announce(`A part of this page could not be loaded: ${error.message}`, "bad");
  });
}

/** Where pages and tabs do not fit side by side, the one that is open is in view. */
function showCurrent() {
  for (const current of document.querySelectorAll('nav [aria-current="page"]')) {
    const bar = current.closest("nav");
    const [place, whole] = [current.getBoundingClientRect(), bar.getBoundingClientRect()];
    bar.scrollLeft += place.left + place.width / 2 - (whole.left + whole.width / 2);
  }
}
