import { NO_FILTER } from "./query.js";

/** With more categories than this, the rest waits behind a button. */
const CHIPS_AT_FIRST = 16;

/**
 * The filters: one category at a time, and a highest price.
 *
 * @param {{onChange: (filter: import("./query.js").Filter) => void}} listeners
 */
export function filters({ onChange }) {
  const chips = document.getElementById("categories");
  const input = document.getElementById("max-price");
  let categories = [];
  let filter = NO_FILTER;
  let all = false;

  const change = (part) => {
    filter = { ...filter, ...part };
    draw();
    onChange(filter);
  };

  const chip = ({ name, count }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.dataset.category = name;
    button.append(name, " ", Object.assign(document.createElement("span"), { textContent: count }));
    button.addEventListener("click", () => change({ category: filter.category === name ? null : name }));
    return button;
  };

  const restChip = (count) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = `${count} more`;
    button.addEventListener("click", () => {
      all = true;
      fill();
      chips.children[CHIPS_AT_FIRST].focus();
    });
    return button;
  };

  const fill = () => {
    const first = all ? categories : categories.slice(0, CHIPS_AT_FIRST);
    chips.replaceChildren(...first.map(chip));
    if (first.length < categories.length) chips.append(restChip(categories.length - first.length));
    draw();
  };

  const draw = () => {
    for (const button of chips.querySelectorAll(".chip")) {
      button.setAttribute("aria-pressed", button.dataset.category === filter.category);
    }
    input.value = filter.maxPrice ?? "";
  };

  input.addEventListener("change", () => {
    change({ maxPrice: input.value !== "" && input.validity.valid ? input.valueAsNumber : null });
  });

  return {
    offer(list) {
      categories = list;
      fill();
    },
    show(newFilter) {
      filter = newFilter;
      draw();
    },
  };
}
