import { price } from "./price.js";

const template = document.getElementById("card").content;
const skeleton = document.getElementById("skeleton").content;

/** A frame is four wide by five high; a picture that would lose more than this is shown whole. */
const FRAME_RATIO = 4 / 5;
const LARGEST_CUT = 0.25;

/** @param {import("./api.js").Hit} hit @returns {HTMLElement} */
export function card({ product, picture, similarity }) {
  const element = template.cloneNode(true).firstElementChild;
  const part = (selector) => element.querySelector(selector);
  const title = product.title || product.product_id;

  fillFrame(part(".frame"), picture);
  const link = part(".title a");
  link.textContent = title;
  const address = webAddress(product.url);
  if (address) link.href = address;
  else link.replaceWith(title);
  part(".price").textContent = price(product);
  part(".kind").textContent = [product.brand, product.category].filter(Boolean).join(" · ");
  const similar = part(".similar");
  similar.href = `/?${new URLSearchParams({ similar: product.product_id })}`;
  similar.setAttribute("aria-label", `More like this: ${title}`);
  similar.dataset.similar = product.product_id;
  if (similarity === null) part(".match").remove();
  else showSimilarity(part(".match"), similarity);
  return element;
}

/** @returns {HTMLElement[]} cards without content, for the time of waiting */
export const skeletons = (count) =>
  Array.from({ length: count }, () => skeleton.cloneNode(true).firstElementChild);

/** Put a product's picture, as a thumbnail, into a frame that has an `img`. */
export function fillFrame(frame, picture) {
  const img = frame.querySelector("img");
  frame.classList.toggle("bare", !picture);
  if (!picture) return img.remove();
  const ratio = picture.width / picture.height;
  const cut = 1 - Math.min(ratio, FRAME_RATIO) / Math.max(ratio, FRAME_RATIO);
  frame.classList.toggle("whole", cut > LARGEST_CUT);
  img.width = picture.width;
  img.height = picture.height;
  img.addEventListener("error", () => { frame.classList.add("bare"); img.remove(); });
  img.src = `${picture.url}?size=thumb`;
}

function showSimilarity(element, similarity) {
  element.querySelector(".score").textContent = similarity.toFixed(2);
  element.style.setProperty("--share", Math.min(Math.max(similarity, 0), 1));
}

/** @returns {?string} the address if a browser may be sent there */
function webAddress(text) {
  if (!text || !URL.canParse(text)) return null;
  const { protocol, href } = new URL(text);
  return protocol === "https:" || protocol === "http:" ? href : null;
}
