/**
 * The HTTP API, as the page needs it: one function a request, one error for all that can go wrong.
 *
 * @typedef {{id: string, url: string, width: number, height: number}} Picture
 * @typedef {{product_id: string, title: string, category: ?string, brand: ?string,
 *            price: ?number, currency: ?string, url: ?string}} Product
 * @typedef {{product: Product, picture: ?Picture, similarity: ?number}} Hit
 * @typedef {{hits: Hit[], more: boolean, tookMs?: number, method?: string, space?: string,
 *            degradedReason?: ?string}} Page
 * @typedef {{status: string, database: string, degraded_reason: ?string, clip: {status: string, since: ?string}}} Health
 */

export const PAGE_SIZE = 24;
const LARGE_BYTES = 10_000_000;
const HEALTH_MS = 8000;

/** A proxy may answer in the server's place, so the status counts and not the code. */
const WORDS_FOR_STATUS = {
  404: ["Not found", "This product is no longer in the catalogue."],
  413: ["This photo is too large", "Try a smaller one."],
  415: ["This file is not a picture", "JPEG, PNG, WebP, GIF, AVIF and HEIC work."],
  422: ["This does not work", "Try another photo, or other words."],
  429: ["The server is busy", "Try again in a moment."],
  503: ["The server cannot answer now", "Try again in a moment."],
};
const UNREADABLE = "This picture cannot be read";

/** What went wrong, in words for the person at the page. */
export class Problem extends Error {
  constructor({ title, detail = "", retry = false }) {
    super(title);
    Object.assign(this, { title, detail, retry });
  }

  /** @param {Response} response an answer that is not 2xx */
  static async from(response) {
    const problem = await response.json().catch(() => ({}));
    const [title, detail] = WORDS_FOR_STATUS[response.status] ?? ["Something went wrong", ""];
    return new Problem({
      title: problem.code === "image_undecodable" ? UNREADABLE : title,
      detail: problem.detail || detail,
      retry: response.status === 429 || response.status >= 500,
    });
  }
}

async function request(path, { bytes = 0, ...options } = {}) {
  let response;
  try {
    response = await fetch(path, options);
    if (response.ok) return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A server may cut off an upload that is too large before it can say so.
    const detail = bytes > LARGE_BYTES ? "Or the photo is too large." : "Check the connection, then try again.";
    throw new Problem({ title: "The server cannot be reached", detail, retry: true });
  }
  throw await Problem.from(response);
}

export const fetchStats = () => request("/v1/stats");

/** @returns {Promise<Health>} */
export const fetchHealth = () => request("/health", { signal: AbortSignal.timeout(HEALTH_MS) });

/** @returns {Promise<Product & {images: Picture[]}>} */
export const fetchProduct = (id) => request(`/v1/products/${encodeURIComponent(id)}`);

/** @returns {Promise<Page>} products `offset` and on that answer `query` under `filter` */
export const fetchPage = (query, filter, offset, signal) =>
  ask[query.kind](query, { limit: PAGE_SIZE, offset, filter: conditions(filter) }, signal);

const ask = {
  async catalogue(_, paging, signal) {
    const { products, total } = await request(`/v1/products?${fields(paging)}`, { signal });
    return {
      hits: products.map((product) => ({ product, picture: product.images[0] ?? null, similarity: null })),
      more: paging.offset + products.length < total,
    };
  },

  async words({ words }, paging, signal) {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ queries: [{ text: words }], ...paging });
    return page(await request("/v1/search", { method: "POST", headers, body, signal }));
  },

  async photo({ photo }, paging, signal) {
    const body = new FormData();
    for (const [name, value] of fields(paging)) body.set(name, value);
    body.set("image", photo);
    return page(await request("/v1/search/image", { method: "POST", body, signal, bytes: photo.size }));
  },

  async similar({ productId }, paging, signal) {
    return page(await request(`/v1/products/${encodeURIComponent(productId)}/similar?${fields(paging)}`, { signal }));
  },
};

const conditions = ({ category, maxPrice }) => ({
  ...(category && { category: [category] }),
  ...(maxPrice !== null && { price: { lte: maxPrice } }),
});

const fields = ({ limit, offset, filter }) => new URLSearchParams({ limit, offset, filter: JSON.stringify(filter) });

const page = ({ results, search, took_ms, space, degraded_reason }) => ({
  hits: results.map(({ product, image, similarity }) => ({ product, picture: image, similarity })),
  more: !search.exhausted && results.length === PAGE_SIZE,
  tookMs: took_ms,
  method: search.method,
  space,
  degradedReason: degraded_reason,
});
