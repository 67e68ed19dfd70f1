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

const { module } = document.querySelector("main").dataset;
if (module) {
  import(`./pages/${module}.js`).catch((error) => {
    console.error(error);
    announce(`A part of this page could not be loaded: ${error.message}`, "bad");
  });
}
