import { card, skeletons } from "./card.js";

const SKELETONS = 12;

/** The grid of products and the button under it. */
export function results({ onSimilar, onMore }) {
  const grid = document.getElementById("grid");
  const more = document.getElementById("more");

  more.addEventListener("click", onMore);
  grid.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-similar]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
    event.preventDefault();
    onSimilar(link.dataset.similar);
  });

  const settle = (hasMore) => {
    grid.removeAttribute("aria-busy");
    more.disabled = false;
    more.hidden = !hasMore;
  };

  return {
    wait(offset) {
      grid.setAttribute("aria-busy", "true");
      more.disabled = true;
      if (offset) return;
      more.hidden = true;
      grid.replaceChildren(...skeletons(SKELETONS));
    },

    show({ hits, more: hasMore }, offset) {
      const cards = hits.map(card);
      if (offset) grid.append(...cards);
      else grid.replaceChildren(...cards);
      settle(hasMore);
      // Whoever asked for more by keyboard goes on with the first new product.
      if (offset) cards[0]?.querySelector("a").focus({ preventScroll: true });
    },

    fail() {
      for (const skeleton of grid.querySelectorAll(".skeleton")) skeleton.remove();
      settle(false);
    },
  };
}
