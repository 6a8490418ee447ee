/** The page as the server made it works by itself. From here on it goes without reloads, and photos get tools. */
import { ask, again, onAnswer } from "./ask.js";
import { acceptFiles } from "./files.js";
import { watchFilters } from "./filters.js";
import { recalled } from "./history.js";
import { shortcuts } from "./keys.js";
import { watchEnd } from "./parts.js";
import { photoPanel } from "./photo.js";
import { localise } from "./price.js";
import { shrink } from "./shrink.js";
import { serviceState } from "./state.js";

const form = document.getElementById("ask");
const state = serviceState();
const panel = photoPanel({
  onRegion(photo) {
    ask({ fields: fieldsOf(form), photo, how: "narrow" });
    scrollTo(0, 0);
  },
});

/** @returns {URLSearchParams} what the form holds; the photo is at hand here, and so are its parts */
function fieldsOf(form, submitter = null) {
  const fields = new URLSearchParams([...new FormData(form, submitter)].filter(([, value]) => value !== ""));
  for (const name of ["photo", "region"]) fields.delete(name);
  return fields;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { submitter } = event;
  if (submitter && "again" in submitter.dataset) return again();
  const fields = fieldsOf(form, submitter);
  const how = { cursor: "append", without: "narrow" }[submitter?.name] ?? "fresh";
  const photo = fields.get("without") === "photo" ? null : panel.photo;
  const nothing = !fields.size && !photo && document.documentElement.dataset.view === "start";
  if (nothing) document.getElementById("words").focus();
  else ask({ fields, photo, how });
});
document.getElementById("words").addEventListener("search", ({ target }) => target.value || form.requestSubmit());

acceptFiles(async (file) => {
  const photo = { blob: await shrink(file), id: null, region: null };
  ask({ fields: new URLSearchParams(), photo });
});
watchFilters(() => ask({ fields: fieldsOf(form), photo: panel.photo, how: "narrow" }));
shortcuts();

document.querySelector(".brand").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
  event.preventDefault();
  ask({ fields: new URLSearchParams() });
});
window.addEventListener("popstate", () => ask({ ...recalled(), how: "recall" }));

onAnswer(({ photo, begun }) => {
  panel.show(photo);
  if (begun) return;
  panel.propose();
  const answer = document.getElementById("answer");
  localise(answer);
  if (answer.dataset.method !== "catalogue") state.compare(answer.dataset.reason);
});
localise(document);
watchEnd();
if (history.state?.photo) ask({ ...recalled(), how: "recall" }); // the page was loaded again
