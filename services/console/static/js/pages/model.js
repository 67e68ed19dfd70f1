// A model's first page.

import { startRollout } from "../rollout.js";

startRollout();
