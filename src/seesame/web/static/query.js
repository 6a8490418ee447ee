/**
 * What is asked for, and how it stands in the address bar and in the history.
 *
 * @typedef {{kind: "catalogue"} | {kind: "words", words: string} | {kind: "similar", productId: string}
 *           | {kind: "photo", photo: File}} Query
 * @typedef {{category: ?string, maxPrice: ?number}} Filter
 */

/** @type {Filter} */
export const NO_FILTER = Object.freeze({ category: null, maxPrice: null });

/** Photos do not fit into an address: the history keeps their number, this list keeps them. */
const photos = [];

/** @param {Query} query @param {Filter} filter */
export function remember(query, filter, { replace = false } = {}) {
  const parameters = new URLSearchParams();
  if (query.kind === "words") parameters.set("q", query.words);
  if (query.kind === "similar") parameters.set("similar", query.productId);
  if (filter.category) parameters.set("category", filter.category);
  if (filter.maxPrice !== null) parameters.set("max", filter.maxPrice);
  if (query.kind === "photo" && !photos.includes(query.photo)) photos.push(query.photo);
  const state = query.kind === "photo" ? { photo: photos.indexOf(query.photo) } : null;
  history[replace ? "replaceState" : "pushState"](state, "", parameters.size ? `/?${parameters}` : "/");
}

/** @returns {{query: Query, filter: Filter}} what the address bar and the history say now */
export function recall() {
  const parameters = new URLSearchParams(location.search);
  const maxPrice = Number.parseFloat(parameters.get("max"));
  const filter = { category: parameters.get("category"), maxPrice: maxPrice >= 0 ? maxPrice : null };
  return { query: recallQuery(parameters), filter };
}

function recallQuery(parameters) {
  const photo = photos[history.state?.photo];
  if (photo) return { kind: "photo", photo };
  const words = parameters.get("q")?.trim();
  if (words) return { kind: "words", words };
  const productId = parameters.get("similar");
  return productId ? { kind: "similar", productId } : { kind: "catalogue" };
}
