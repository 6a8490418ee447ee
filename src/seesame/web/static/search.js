import { fetchPage } from "./api.js";

/** The query that runs now. A new one cancels the one in flight, so answers never overtake each other. */
export class Search {
  #controller = new AbortController();
  #shown = 0;

  /** @param {{onStart: Function, onPage: Function, onFailure: Function}} listeners */
  constructor({ onStart, onPage, onFailure }) {
    Object.assign(this, { onStart, onPage, onFailure });
  }

  /** Ask from the start. */
  run(query, filter) {
    Object.assign(this, { query, filter });
    this.#shown = 0;
    return this.more();
  }

  /** Ask for the products after those shown. */
  async more() {
    this.#controller.abort();
    const { signal } = (this.#controller = new AbortController());
    const offset = this.#shown;
    this.onStart({ query: this.query, filter: this.filter, offset, signal });
    try {
      const page = await fetchPage(this.query, this.filter, offset, signal);
      if (signal.aborted) return;
      this.#shown += page.hits.length;
      this.onPage({ query: this.query, filter: this.filter, offset, page });
    } catch (error) {
      if (!signal.aborted) this.onFailure(error);
    }
  }
}
