/** The pages show everything by themselves. From here on they also change things, through the API, and follow what runs. */
import { watchActions } from "./actions.js";
import { watchForms } from "./forms.js";
import { follow } from "./follow.js";
import { localise, onShown } from "./page.js";
import { tellLeft } from "./told.js";

watchActions();
onShown(localise, follow, watchForms);
tellLeft();
