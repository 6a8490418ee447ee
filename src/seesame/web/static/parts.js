import { speak } from "./notice.js";

/** The parts of the page that an answer replaces. */
const PARTS = ["given", "heading", "total", "chips", "filters", "answer", "facts"];
const SKELETONS = 12;
const BY_ITSELF = 2; // pages that come as one scrolls down; then one asks, or the end could never be reached
const MARGIN = "600px";

let byItself = 0;
const watcher = new IntersectionObserver((entries) => {
  if (byItself >= BY_ITSELF || !entries.some(({ isIntersecting }) => isIntersecting)) return;
  const more = document.getElementById("more");
  if (!more || grid().ariaBusy || !scrollY) return;
  byItself += 1;
  more.click();
}, { rootMargin: MARGIN });

const grid = () => document.getElementById("grid");

/** Show that an answer is under way. */
export function wait(how) {
  const list = grid();
  list.ariaBusy = "true";
  const words = document.getElementById("words");
  words.defaultValue = words.value; // what is typed from now on stays
  if (how === "append" || how === "narrow") return;
  const heading = document.getElementById("heading");
  heading.dataset.before ??= heading.textContent;
  heading.textContent = "Searching…";
  document.querySelector("#answer .notice")?.remove();
  document.getElementById("more")?.remove();
  const skeleton = document.getElementById("waiting").content;
  list.replaceChildren(...Array.from({ length: SKELETONS }, () => skeleton.cloneNode(true)));
}

/** Show that none is. */
export function settle() {
  grid().ariaBusy = null;
  const heading = document.getElementById("heading");
  heading.textContent = heading.dataset.before ?? heading.textContent; // no page came
  delete heading.dataset.before;
  for (const skeleton of document.querySelectorAll(".skeleton")) skeleton.remove();
}

/**
 * Put the parts of an answered page in place.
 *
 * @param {Document} page
 * @returns {{address: string, photoId: ?string, refused: boolean}} where the page can be had again, the id of its
 *   photo, and whether that photo is none that can be searched with
 */
export function show(page, how) {
  const { address } = page.getElementById("answer").dataset;
  const photoId = page.querySelector("#given [name=photo]")?.value ?? null;
  const refused = !photoId && Boolean(page.querySelector("#answer .notice:not(:has([data-again]))"));
  if (how === "append") append(page);
  else replace(page, how);
  settle();
  watchEnd();
  return { address, photoId, refused };
}

/** Ask for more as the end comes into sight. */
export function watchEnd() {
  watcher.disconnect();
  const more = document.getElementById("more");
  if (more) watcher.observe(more);
}

function replace(page, how) {
  const focused = describe(document.activeElement);
  const open = document.querySelector("#filters details[open]")?.dataset.field;
  for (const id of PARTS) document.getElementById(id).replaceWith(document.adoptNode(page.getElementById(id)));
  document.documentElement.dataset.view = page.documentElement.dataset.view;
  document.title = page.title;
  takeWords(page.getElementById("words"));
  byItself = 0;
  if (how === "fresh") return begin();
  if (how === "narrow") {
    document.querySelector(`#filters details[data-field="${CSS.escape(open)}"]`)?.setAttribute("open", "");
    const lost = document.activeElement === document.body;
    if (lost) (focused() ?? document.getElementById("heading")).focus({ preventScroll: true });
  }
  tell();
}

/** A new search is read from its heading on. */
function begin() {
  scrollTo(0, 0);
  document.getElementById("heading").focus({ preventScroll: true });
  tell();
}

function append(page) {
  const list = grid();
  const first = page.querySelector("#grid > .card");
  const byKeyboard = document.activeElement === document.getElementById("more");
  list.append(...page.querySelectorAll("#grid > .card"));
  document.getElementById("more").remove();
  const more = page.getElementById("more");
  const notice = page.querySelector("#answer .notice");
  for (const next of [notice, more]) if (next) document.getElementById("answer").append(next);
  document.getElementById("facts").textContent = page.getElementById("facts").textContent;
  if (byKeyboard) first?.querySelector("a, button").focus({ preventScroll: true });
  tell();
}

function tell() {
  const notice = document.querySelector("#answer .notice-title");
  const count = grid().childElementCount;
  speak(notice ? "" : `${count.toLocaleString()} product${count === 1 ? "" : "s"} shown`);
}

/** Words that somebody types meanwhile stay. */
function takeWords(answered) {
  const words = document.getElementById("words");
  words.placeholder = answered.placeholder;
  if (document.activeElement !== words || words.value === words.defaultValue) words.value = answered.value;
  words.defaultValue = answered.value;
}

/** @returns {() => ?HTMLElement} finds what has the place of an element among the parts that came */
function describe({ name, value, type, form }) {
  if (!name || form?.id !== "ask" || type === "search") return () => null;
  const checked = type === "checkbox" ? `[value="${CSS.escape(value)}"]` : "";
  return () => document.querySelector(`#filters [name="${CSS.escape(name)}"]${checked}`);
}
