/**
 * Parts of the photo that the server proposes, as dots that search them.
 *
 * @param {HTMLElement} stage
 * @param {{onChoose: (region: import("./history.js").Region) => void}} listeners
 */
export function dots(stage, { onChoose }) {
  let asked = null; // the photo whose parts were asked for

  const dot = ({ region, results }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "dot" });
    const kind = results[0]?.product.category ?? results[0]?.product.title;
    button.ariaLabel = kind ? `Search this part: ${kind}` : "Search this part";
    button.title = button.ariaLabel;
    button.style.left = `${100 * (region.x + region.width / 2)}%`;
    button.style.top = `${100 * (region.y + region.height / 2)}%`;
    button.addEventListener("click", () => onChoose(region));
    return button;
  };

  const clear = () => {
    asked = null;
    for (const button of stage.querySelectorAll(".dot")) button.remove();
  };

  return {
    clear,
    /** @param {import("./history.js").Photo} photo */
    async ask(photo) {
      if (photo === asked) return;
      clear();
      asked = photo;
      const regions = await propose(photo.id).catch(() => []); // the photo can be searched without
      if (asked === photo) stage.append(...regions.map(dot));
    },
  };
}

async function propose(id) {
  const body = JSON.stringify({ image: { id }, limit: 1 });
  const response = await fetch("/v1/search/regions", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return response.ok ? (await response.json()).regions : [];
}
