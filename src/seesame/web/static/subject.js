import { fetchProduct } from "./api.js";
import { fillFrame } from "./card.js";

/**
 * What the search started from, beside the results: the visitor's photo, or a product.
 *
 * @param {{onClear: () => void}} listeners
 */
export function subject({ onClear }) {
  const root = document.getElementById("subject");
  const frame = root.querySelector(".frame");
  const blank = frame.querySelector("img");
  const kind = root.querySelector(".subject-kind");
  const name = root.querySelector(".subject-name");
  let shown = null;
  let photoAddress = null;

  root.querySelector("button").addEventListener("click", onClear);

  const empty = () => {
    URL.revokeObjectURL(photoAddress);
    frame.className = "frame";
    frame.replaceChildren(blank.cloneNode());
    name.textContent = "";
  };

  const showPhoto = (photo) => {
    const img = frame.firstElementChild;
    photoAddress = URL.createObjectURL(photo);
    kind.textContent = "Your photo";
    img.alt = "Your photo";
    img.addEventListener("error", () => { frame.classList.add("bare"); img.remove(); }); // HEIC, or no picture
    img.src = photoAddress;
  };

  const showProduct = async (query) => {
    kind.textContent = "Similar to";
    frame.classList.add("waiting");
    const product = await fetchProduct(query.productId).catch(() => null); // the search itself reports failures
    if (shown !== query) return;
    frame.classList.remove("waiting");
    fillFrame(frame, product?.images[0]);
    name.textContent = product?.title ?? query.productId;
  };

  return {
    /** @param {import("./query.js").Query} query */
    show(query) {
      if (query === shown) return;
      shown = query;
      empty();
      root.hidden = query.kind !== "photo" && query.kind !== "similar";
      if (query.kind === "photo") showPhoto(query.photo);
      if (query.kind === "similar") showProduct(query);
    },
  };
}
