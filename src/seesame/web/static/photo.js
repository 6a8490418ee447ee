import { dots } from "./dots.js";
import { frame } from "./frame.js";

/**
 * The visitor's photo beside the results, with the part of it that is searched.
 *
 * @typedef {import("./history.js").Photo} Photo
 * @param {{onRegion: (photo: Photo) => void}} listeners
 */
export function photoPanel({ onRegion }) {
  const section = document.getElementById("photo");
  const stage = document.getElementById("stage");
  const button = document.getElementById("crop");
  const keys = document.getElementById("keys");
  /** @type {?Photo} */
  let photo = null;
  let address = null;

  const choose = (region) => {
    part.show(region);
    label();
    if (!region) button.focus({ preventScroll: true });
    onRegion(Object.assign(photo, { region }));
  };
  const part = frame(stage, { onChange: choose });
  const proposed = dots(stage, {
    onChoose(region) {
      choose(region);
      part.focus();
    },
  });
  const label = () => {
    button.textContent = photo?.region ? "Whole photo" : "Choose a part";
    keys.hidden = !photo?.region;
    proposed.mark(photo?.region);
  };

  button.addEventListener("click", () => (photo.region ? choose(null) : part.begin()));

  const draw = () => {
    URL.revokeObjectURL(address);
    for (const old of stage.querySelectorAll(".blank, img")) old.remove();
    const blank = Object.assign(document.createElement("p"), { className: "blank", textContent: "No preview" });
    if (!photo?.blob) return stage.prepend(blank);
    address = URL.createObjectURL(photo.blob);
    const img = Object.assign(document.createElement("img"), { alt: "Your photo", draggable: false, src: address });
    img.addEventListener("error", () => img.replaceWith(blank)); // HEIC, or no picture
    stage.prepend(img);
  };

  return {
    get photo() { return photo; },

    /** @param {?Photo} wanted what is searched with from now on */
    show(wanted) {
      section.hidden = !wanted;
      const another = wanted !== photo;
      photo = wanted;
      if (another) {
        draw();
        proposed.clear();
      }
      part.show(photo?.region ?? null);
      label();
    },

    /** The server has answered, and may know the photo. */
    propose() {
      if (photo?.id) proposed.ask(photo);
    },
  };
}
