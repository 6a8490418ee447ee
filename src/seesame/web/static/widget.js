/**
 * <seesame-search>: search by photo or words in a shop's own page, as docs/widget.md describes.
 *
 * Nothing here parses HTML, so what products say can never become markup.
 */

const HOME = new URL(".", import.meta.url).href; // where this script came from is the API
const LONGEST_SIDE = 1024;
const JPEG_QUALITY = 0.85;
const PATIENCE_MS = 30_000;
const LONGEST_PAUSE_S = 20;

const TEXTS = {
  en: {
    label: "Product search",
    photo: "Search by photo",
    camera: "Take a photo",
    words: "Describe it, or drop a photo",
    submit: "Search",
    yours: "Your photo",
    clear: "Clear",
    similar: "More like this",
    retry: "Try again",
    searching: "Searching…",
    found: "Products: {count}",
    far: "Nothing here looks much like it. These come closest.",
    none: "Nothing found. Try another photo, or other words.",
    busy: "The search is busy right now.",
    large: "This photo is too large. Try a smaller one.",
    unreadable: "This photo cannot be read. Try another one.",
    unreachable: "The search cannot be reached. Check the connection.",
    failed: "Something went wrong. Try again later.",
  },
  de: {
    label: "Produktsuche",
    photo: "Mit Foto suchen",
    camera: "Foto aufnehmen",
    words: "Beschreiben oder Foto hierher ziehen",
    submit: "Suchen",
    yours: "Ihr Foto",
    clear: "Leeren",
    similar: "Ähnliche zeigen",
    retry: "Noch einmal versuchen",
    searching: "Suche läuft…",
    found: "Produkte: {count}",
    far: "Wirklich ähnlich ist nichts. Das kommt am nächsten.",
    none: "Nichts gefunden. Vielleicht hilft ein anderes Foto oder Wort.",
    busy: "Die Suche ist gerade ausgelastet.",
    large: "Dieses Foto ist zu groß. Bitte ein kleineres nehmen.",
    unreadable: "Dieses Foto ist nicht lesbar. Bitte ein anderes nehmen.",
    unreachable: "Die Suche ist nicht erreichbar. Bitte die Verbindung prüfen.",
    failed: "Das ging schief. Bitte später noch einmal versuchen.",
  },
};
const CODES = { 413: "large", 415: "unreadable", 429: "busy", 503: "busy" };
const WORTH_A_RETRY = ["busy", "unreachable", "failed"];

/* Lines and tiles are made of the page's text colour, so they fit into a light page and into a dark one. */
const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
:host { display: block; color: var(--seesame-text, inherit); font-family: var(--seesame-font, inherit); line-height: 1.4; }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; margin: 0; border-radius: var(--seesame-radius, 12px); }
button, input { padding: 0; border: 0; background: none; color: inherit; font: inherit; }
button { cursor: pointer; }
:focus-visible { outline: 2px solid; outline-offset: 2px; }
.box, .photos, .words { display: flex; flex: 1 1 auto; flex-wrap: wrap; gap: 8px; }
.words { flex: 999 1 16em; flex-wrap: nowrap; }
.over { outline: 3px dashed var(--seesame-accent, #f2b632); outline-offset: 6px; }
.box :is(button, input) { min-height: 48px; padding: 0 16px; font-size: max(16px, 1em); white-space: nowrap;
  border: 1px solid color-mix(in srgb, currentcolor 55%, transparent); }
.input { flex: 1; width: 0; min-width: 0; }
.input::placeholder { color: inherit; opacity: .75; }
.photo, .camera { display: flex; flex: 1; align-items: center; justify-content: center; gap: 8px; }
.photo::before { content: ""; width: 24px; height: 24px; background: currentcolor;
  clip-path: path(evenodd, "M2 6h5l2-3h6l2 3h5v15H2zM7.5 13a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z"); }
@media not (pointer: coarse) { .camera { display: none; } }
.box .submit, .retry { border-color: transparent; background: var(--seesame-accent, #f2b632);
  color: var(--seesame-on-accent, #1b1a17); font-weight: 600; }
.state, .query { display: flex; flex-wrap: wrap; align-items: center; gap: 0 12px; overflow-wrap: anywhere; }
.query, .status:not(:empty), .retry, .results:not(:empty) { margin-top: var(--seesame-gap, 16px); }
.preview { width: 44px; height: 44px; object-fit: cover; }
.status { outline: 0; }
.retry { padding: 8px 16px; }
.clear, .similar { position: relative; min-height: 28px; font-size: .875em; text-decoration: underline; }
.similar { margin-top: auto; }
.results { display: grid; padding: 0; list-style: none; gap: calc(var(--seesame-gap, 16px) * 1.5) var(--seesame-gap, 16px);
  grid-template-columns: repeat(auto-fill, minmax(min(var(--seesame-card-width, 180px), 42%), 1fr)); }
.card { position: relative; display: flex; flex-direction: column; align-items: start; min-width: 0; }
.frame { width: 100%; margin-bottom: 8px; aspect-ratio: var(--seesame-image-ratio, 4 / 5); overflow: hidden;
  background: var(--seesame-tile, color-mix(in srgb, currentcolor 7%, transparent)); }
.image { width: 100%; height: 100%; object-fit: var(--seesame-image-fit, cover); border-radius: 0; }
.title { color: inherit; overflow-wrap: anywhere; text-align: start; text-decoration: none; }
.title::after { content: ""; position: absolute; inset: 0; }
.title:hover { text-decoration: underline; }
.price { font-weight: 600; }
[aria-busy] .frame { opacity: .4; }
@media (prefers-reduced-motion: no-preference) {
  .searching { animation: wait .8s infinite alternate; }
  @keyframes wait { to { opacity: .5; } }
}`);

/** A search that got no answer; `code` is a key of the texts. */
class Failure extends Error {
  constructor(code, status = 0, retryAfterS = 0) {
    super(code);
    Object.assign(this, { code, status, retryAfterS });
  }
}

async function post(url, options) {
  let response;
  try {
    response = await fetch(url, { method: "POST", ...options });
    if (response.ok) return await response.json();
  } catch {
    throw new Failure("unreachable");
  }
  const problem = await response.json().catch(() => ({})); // a proxy may answer in the API's place
  const code = problem.code === "image_undecodable" ? "unreadable" : CODES[response.status] ?? "failed";
  throw new Failure(code, response.status, Number(response.headers.get("Retry-After")) || 0);
}

/** The photo upright, small and without what the camera wrote into it; as it is if this browser cannot read it. */
async function prepared(photo) {
  const bitmap = await createImageBitmap(photo, { imageOrientation: "from-image" }).catch(() => null);
  if (!bitmap) return photo;
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // JPEG has no transparency
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return (await new Promise((done) => canvas.toBlob(done, "image/jpeg", JPEG_QUALITY))) ?? photo;
}

/** An element. Its part, without what follows a hyphen, is its class as well. */
function make(tag, part, properties, ...children) {
  const element = Object.assign(document.createElement(tag), { className: part.split("-")[0], ...properties });
  element.setAttribute("part", part);
  element.append(...children);
  return element;
}

/** The address if a browser may be sent there, or null. */
function webAddress(text, base = document.baseURI) {
  if (!text || !URL.canParse(text, base)) return null;
  const { protocol, href } = new URL(text, base);
  return /^https?:$/.test(protocol) ? href : null;
}

function outcome({ results, good_match: isGood }) {
  if (!results.length) return "none";
  return isGood === false ? "far" : "found";
}

function written({ price, currency }, locale) {
  if (price === null) return "";
  try {
    return price.toLocaleString(locale, currency ? { style: "currency", currency } : {});
  } catch {
    return `${price} ${currency ?? ""}`; // that is no currency, or no language
  }
}

class SeesameSearch extends HTMLElement {
  static observedAttributes = ["lang", "texts"];

  #texts = TEXTS.en;
  #query;
  #search = new AbortController();
  #notBefore = 0; // the API asked for a pause until then
  #at = {
    photo: make("button", "photo-button"),
    camera: make("button", "camera-button"),
    file: make("input", "", { type: "file", accept: "image/*", hidden: true }),
    words: make("input", "input", { type: "search", maxLength: 1000, autocomplete: "off" }),
    submit: make("button", "submit"),
    preview: make("img", "preview", { alt: "" }),
    asked: make("span", "asked"),
    clear: make("button", "clear"),
    status: make("p", "status", { role: "status", tabIndex: -1 }),
    retry: make("button", "retry"),
    results: make("ol", "results", { role: "list" }),
  };

  constructor() {
    super();
    const at = this.#at;
    at.box = make("form", "box", { role: "search" },
      make("div", "photos", {}, at.photo, at.camera, at.file), make("div", "words", {}, at.words, at.submit));
    at.query = make("div", "query", {}, at.preview, at.asked, at.clear);
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [STYLE];
    this.shadowRoot.append(at.box, make("div", "state", {}, at.query, at.status, at.retry), at.results);
    this.#listen(at);
    this.#ask({});
    this.#show("");
  }

  #listen({ photo, camera, file, words, box, clear, retry, preview }) {
    photo.onclick = camera.onclick = ({ currentTarget }) => {
      file.toggleAttribute("capture", currentTarget === camera);
      file.click();
    };
    photo.type = camera.type = "button";
    file.onchange = () => {
      this.#take(file.files);
      file.value = ""; // so that the same file can be chosen again
    };
    box.onsubmit = (event) => {
      event.preventDefault();
      if (words.value.trim()) this.searchText(words.value.trim());
      else words.focus();
    };
    clear.onclick = () => { this.clear(); photo.focus(); };
    retry.onclick = () => this.#run(this.#query);
    preview.onerror = () => { preview.hidden = true; };
    this.addEventListener("dragover", (event) => this.#drag(event, true));
    this.addEventListener("dragleave", (event) => this.#drag(event, false));
    this.addEventListener("drop", (event) => {
      this.#drag(event, false);
      this.#take(event.dataTransfer.files);
    });
  }

  connectedCallback() {
    for (const name of ["endpoint", "key", "limit", "filter", "texts"]) { // set before this script was there
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    this.attributeChangedCallback();
    document.addEventListener("paste", this.#paste);
  }

  disconnectedCallback() {
    document.removeEventListener("paste", this.#paste);
  }

  attributeChangedCallback() {
    const { box, photo, words } = this.#at;
    const language = this.#locale.slice(0, 2).toLowerCase();
    this.#texts = { ...(TEXTS[language] ?? TEXTS.en), ...this.texts };
    for (const name of ["photo", "camera", "submit", "clear", "retry"]) this.#at[name].textContent = this.#texts[name];
    words.placeholder = this.#texts.words;
    box.setAttribute("aria-label", this.#texts.label);
    words.setAttribute("aria-label", this.#texts.words);
  }

  get endpoint() { return this.getAttribute("endpoint") || HOME; }
  set endpoint(address) { this.setAttribute("endpoint", address); }
  get key() { return this.getAttribute("key") || ""; }
  set key(text) { this.setAttribute("key", text); }
  get limit() { return Number(this.getAttribute("limit")) || 12; }
  set limit(count) { this.setAttribute("limit", count); }
  get filter() { return JSON.parse(this.getAttribute("filter") || "{}"); }
  set filter(conditions) { this.setAttribute("filter", JSON.stringify(conditions)); }
  get texts() { return JSON.parse(this.getAttribute("texts") || "{}"); }
  set texts(own) { this.setAttribute("texts", JSON.stringify(own)); }

  searchPhoto(photo) { return this.#run({ kind: "photo", photo }); }
  searchText(words) { return this.#run({ kind: "words", words }); }
  searchSimilar(productId, title = productId, picture = null) {
    return this.#run({ kind: "similar", productId, title, picture });
  }

  clear() {
    this.#search.abort();
    this.#ask({});
    this.#show("");
  }

  /** Searches, in place of a search in flight. The answer, or null if there is none or a newer search came between. */
  async #run(query) {
    this.#search.abort();
    const { signal } = this.#search = new AbortController();
    this.#ask(query);
    this.#say("searching");
    this.#at.results.setAttribute("aria-busy", "true"); // what was found before stays, faded
    this.#emit("seesame-search", { query });
    try {
      const answer = await this.#answer(query, signal);
      if (signal.aborted) return null;
      this.#show(outcome(answer), answer.results.map((result) => this.#card(result)));
      this.#emit("seesame-results", { query, answer });
      return answer;
    } catch (error) {
      if (!signal.aborted) this.#fail(query, error);
      return null;
    }
  }

  async #answer(query, signal) {
    if (query.photo) query.upload ??= await prepared(query.photo);
    signal.throwIfAborted();
    if (query.photo) this.#preview(URL.createObjectURL(query.upload));
    for (let isLast = false; ; isLast = true) {
      const restMs = this.#notBefore - performance.now();
      if (restMs > 0) await new Promise((done) => { setTimeout(done, restMs); });
      try {
        return await this.#post(query, AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]));
      } catch (error) {
        const pauseS = Math.min(error.retryAfterS ?? 0, LONGEST_PAUSE_S);
        if (pauseS) this.#notBefore = performance.now() + pauseS * 1000;
        if (isLast || !pauseS || signal.aborted) throw error;
        this.#say("busy");
      }
    }
  }

  #post({ upload, words, productId }, signal) {
    const { limit, filter, key } = this;
    const headers = key && { Authorization: `Bearer ${key}` };
    if (upload) {
      const body = new FormData();
      body.set("image", upload, "photo");
      body.set("limit", limit);
      body.set("filter", JSON.stringify(filter));
      return post(this.#address("v1/search/image"), { body, signal, headers: { ...headers } });
    }
    const body = JSON.stringify({ queries: [words ? { text: words } : { product_id: productId }], limit, filter });
    return post(this.#address("v1/search"), { body, signal, headers: { ...headers, "Content-Type": "application/json" } });
  }

  #fail(query, error) {
    const { code, status } = error instanceof Failure ? error : new Failure("failed");
    this.#show(code);
    this.#at.retry.hidden = !WORTH_A_RETRY.includes(code);
    this.#emit("seesame-error", { query, code, status });
    if (error.code !== code) reportError(error); // a mistake in an attribute, or here: the console is to show it
  }

  /** Shows what is searched for. */
  #ask(query) {
    const { words, asked, query: row } = this.#at;
    this.#query = query;
    words.value = query.words ?? "";
    asked.textContent = query.words ?? query.title ?? this.#texts.yours;
    row.hidden = !query.kind;
    this.#preview(query.picture);
  }

  #preview(address) {
    const { preview } = this.#at;
    URL.revokeObjectURL(preview.src);
    preview.hidden = !address;
    if (address) preview.src = address;
  }

  #say(key, count) {
    const { status, retry, results } = this.#at;
    const focused = this.shadowRoot.activeElement;
    if (focused && (focused === retry || results.contains(focused))) status.focus(); // it is about to go
    status.textContent = key && this.#texts[key].replace("{count}", count);
    status.classList.toggle("searching", key === "searching" || key === "busy");
    retry.hidden = true;
  }

  #show(key, cards = []) {
    const { results } = this.#at;
    this.#say(key, cards.length);
    results.replaceChildren(...cards);
    results.removeAttribute("aria-busy");
  }

  #card(result) {
    const { product, image } = result;
    const title = product.title || product.product_id;
    const picture = image && this.#address(image.url);
    const thumbnail = picture && `${picture}?size=thumb`;
    const href = webAddress(product.url);
    const name = make(href ? "a" : "button", "title", { textContent: title, ...(href && { href }) });
    name.onclick = (event) => {
      const isElsewhere = event.ctrlKey || event.metaKey || event.shiftKey; // a new tab or window
      if (!isElsewhere && !this.#emit("seesame-select", { product, picture, result })) event.preventDefault();
    };
    const similar = make("button", "similar", { textContent: this.#texts.similar });
    similar.setAttribute("aria-label", `${this.#texts.similar}: ${title}`);
    similar.onclick = () => this.searchSimilar(product.product_id, title, thumbnail);
    const frame = make("div", "frame");
    if (picture) frame.append(make("img", "image", { alt: "", src: thumbnail, onerror() { this.remove(); } }));
    return make("li", "card", {}, frame, name, make("span", "price", {}, written(product, this.#locale)), similar);
  }

  /** Where the API has this; it may live under a path of its host. */
  #address(path) {
    const base = webAddress(this.endpoint.replace(/\/*$/, "/"));
    if (!base) throw new TypeError(`This is no endpoint: ${this.endpoint}`);
    return webAddress(path.replace(/^\/+/, ""), base);
  }

  get #locale() {
    return this.closest("[lang]")?.lang || navigator.language;
  }

  #emit(type, detail) {
    const cancelable = type === "seesame-select";
    return this.dispatchEvent(new CustomEvent(type, { detail, cancelable, bubbles: true, composed: true }));
  }

  #take([file]) {
    if (file) this.searchPhoto(file);
  }

  #drag(event, isOver) {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    this.#at.box.classList.toggle("over", isOver);
  }

  #paste = (event) => {
    const { clipboardData: data, target } = event;
    const file = [...data.files].find(({ type }) => type.startsWith("image/"));
    const wantsText = target === this ? data.getData("text/plain") : target.closest?.("input, textarea, [contenteditable]");
    if (!file || wantsText || event.defaultPrevented) return;
    event.preventDefault();
    this.searchPhoto(file);
  };
}

customElements.define("seesame-search", SeesameSearch);
