import { fetchStats, Problem } from "./api.js";
import { searchBox } from "./box.js";
import { filters } from "./filters.js";
import { explain, say, saySilence, speak } from "./notice.js";
import { NO_FILTER, recall, remember } from "./query.js";
import { results } from "./results.js";
import { Search } from "./search.js";
import { serviceState } from "./state.js";
import { subject } from "./subject.js";

const heading = document.getElementById("heading");
const facts = document.getElementById("facts");
const stats = fetchStats().catch(() => null); // a failure shows in the products, which are asked for as well

const search = new Search({
  onStart({ query, filter, offset }) {
    saySilence();
    grid.wait(offset);
    speak("Searching");
    if (!offset) showQuery(query, filter);
  },

  onPage({ query, filter, offset, page }) {
    const count = offset + page.hits.length;
    grid.show(page, offset);
    facts.textContent = query.kind === "catalogue" ? "" : factsOf(page, count);
    speak(`${plural(count, "product")} shown`);
    if (!count) say(wordsForNothing(query, filter));
    explain(page.degradedReason);
    if (query.kind !== "catalogue") state.compare(page.degradedReason);
  },

  onFailure(error) {
    grid.fail();
    speak("");
    explain(null);
    state.refresh();
    const known = error instanceof Problem;
    say({
      title: known ? error.title : "Something went wrong",
      detail: error.detail,
      onRetry: error.retry ? () => search.more() : null,
    });
    if (!known) throw error; // a mistake in this page: the console is to show it
  },
});

const state = serviceState();
const grid = results({ onSimilar: (productId) => ask({ kind: "similar", productId }), onMore: () => search.more() });
const origin = subject({ onClear: goHome });
const chips = filters({ onChange: narrow });
const box = searchBox({
  onPhoto: (photo) => ask({ kind: "photo", photo }),
  onWords: (words) => ask({ kind: "words", words }),
  onEmptied: () => search.query.kind === "words" && goHome(),
});

function showQuery(query, filter) {
  const atHome = query.kind === "catalogue";
  const title = headingFor(query);
  document.documentElement.dataset.view = atHome ? "start" : "results";
  document.title = atHome ? "Seesame" : `${title} – Seesame`;
  heading.textContent = title;
  facts.textContent = "";
  box.show(query.kind === "words" ? query.words : "");
  chips.show(filter);
  origin.show(query);
}

/** A new search: it goes into the history without the filters of the last, and reading starts at its heading. */
function ask(query) {
  remember(query, NO_FILTER);
  search.run(query, NO_FILTER);
  window.scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

function goHome() {
  ask({ kind: "catalogue" });
}

function narrow(filter) {
  remember(search.query, filter, { replace: true });
  search.run(search.query, filter);
}

function headingFor(query) {
  switch (query.kind) {
    case "words": return `Results for “${query.words}”`;
    case "photo": return "Looks like your photo";
    case "similar": return "More like this";
    default: return "From the catalogue";
  }
}

function wordsForNothing(query, filter) {
  const filtered = filter.category || filter.maxPrice !== null;
  if (filtered) return { title: "No matches", detail: "No product fits these filters. Remove one to see more." };
  if (query.kind !== "catalogue") return { title: "No matches", detail: "Try other words, or another photo." };
  return { title: "The catalogue is empty", detail: "Fill it from a file or a folder of pictures: ", code: "seesame import PATH" };
}

function factsOf({ tookMs, method, space }, count) {
  const methodName = method === "fulltext" ? "full text" : method;
  return [`${plural(count, "result")} in ${Math.round(tookMs)} ms`, methodName, space].filter(Boolean).join(" · ");
}

function plural(count, noun) {
  return `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;
}

function showRecalled() {
  const { query, filter } = recall();
  search.run(query, filter);
}

async function showStats() {
  const { products, categories } = (await stats) ?? { products: 0, categories: [] };
  chips.offer(categories);
  document.getElementById("totals").textContent = products ? `${plural(products, "product")} in the catalogue` : "";
}

document.getElementById("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  goHome();
});
window.addEventListener("popstate", showRecalled);
showRecalled();
showStats();
