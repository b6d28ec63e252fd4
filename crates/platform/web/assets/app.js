// What every page does.

import { wireActions } from "./actions.js";
import { wireAsking } from "./ask.js";
import { localiseTimes, showFlash } from "./dom.js";
import { wireForms } from "./forms.js";
import { goLive } from "./live.js";
import { wirePasswords } from "./password.js";
import { wireTests } from "./settings.js";
import { wireTables } from "./tables.js";

localiseTimes();
showFlash();
wireForms();
wirePasswords();
wireActions();
wireTables();
wireTests();
wireAsking();
if (document.querySelector("meta[name=csrf-token]")) goLive();
