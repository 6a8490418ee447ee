/**
 * Parts of the photo that the server proposes, as dots that search them.
 *
 * @typedef {import("./history.js").Region} Region
 * @param {HTMLElement} stage
 * @param {{onChoose: (region: Region) => void}} listeners
 */
export function dots(stage, { onChoose }) {
  let asked = null; // the photo whose parts were asked for
  /** @type {Map<HTMLButtonElement, Region>} */
  const shown = new Map();

  const add = ({ region, results }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "dot" });
    const kind = results[0]?.product.category ?? results[0]?.product.title;
    button.ariaLabel = kind ? `Search this part: ${kind}` : "Search this part";
    button.title = button.ariaLabel;
    button.style.left = `${100 * (region.x + region.width / 2)}%`;
    button.style.top = `${100 * (region.y + region.height / 2)}%`;
    button.addEventListener("click", () => onChoose(region));
    shown.set(button, region);
    stage.append(button);
  };

  const clear = () => {
    asked = null;
    for (const button of shown.keys()) button.remove();
    shown.clear();
  };

  /** The dot of the part that is searched makes room for its frame. @param {?Region} chosen */
  const mark = (chosen) => {
    for (const [button, region] of shown) button.hidden = Boolean(chosen) && isSame(region, chosen);
  };

  return {
    clear,
    mark,
    /** @param {import("./history.js").Photo} photo */
    async ask(photo) {
      if (photo === asked) return;
      clear();
      asked = photo;
      const regions = await propose(photo.id).catch(() => []); // the photo can be searched without
      if (asked !== photo) return;
      regions.filter(({ region }) => !isWhole(region)).forEach(add);
      mark(photo.region);
    },
  };
}

const isSame = (a, b) => ["x", "y", "width", "height"].every((side) => a[side] === b[side]);
const isWhole = ({ width, height }) => width === 1 && height === 1; // where nothing stands out

async function propose(id) {
  const body = JSON.stringify({ image: { id }, limit: 1 });
  const response = await fetch("/v1/search/regions", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return response.ok ? (await response.json()).regions : [];
}
