import { speak } from "./notice.js";

/** @typedef {import("./history.js").Region} Region */

const LEAST = 0.06; // of a side; what is drawn smaller was a click
const STEP = 0.02;
const SETTLED_MS = 350; // after the last key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The frame around the part of the photo that is searched: drawn, moved and resized with mouse, finger or keys.
 *
 * @param {HTMLElement} stage what the photo fills
 * @param {{onChange: (region: ?Region) => void}} listeners called when a change is over; null: the whole photo
 */
export function frame(stage, { onChange }) {
  const element = document.getElementById("frame").content.firstElementChild.cloneNode(true);
  /** @type {?Region} */
  let region = null;
  let timer;

  const focus = () => element.focus({ preventScroll: true });

  const show = (wanted) => {
    region = wanted;
    clearTimeout(timer);
    if (!region) return element.remove();
    for (const [side, name] of Object.entries({ left: "x", top: "y", width: "width", height: "height" })) {
      element.style[side] = `${100 * region[name]}%`;
    }
    element.ariaLabel = `Part of the photo: ${inWords(region)}`;
    if (!element.isConnected) stage.append(element);
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest(".dot") || !stage.querySelector("img")) return;
    event.preventDefault();
    const from = place(stage, event);
    const before = region;
    const change = changeFor(event.target, before, from);
    const over = new AbortController();
    const end = ({ type }) => {
      over.abort();
      const drawn = region !== before && region?.width >= LEAST && region.height >= LEAST;
      if (type === "pointercancel" || !drawn) return show(before);
      focus();
      onChange(region);
    };
    stage.setPointerCapture(event.pointerId);
    stage.addEventListener("pointermove", (to) => show(change(place(stage, to))), { signal: over.signal });
    stage.addEventListener("pointerup", end, { signal: over.signal });
    stage.addEventListener("pointercancel", end, { signal: over.signal });
  });

  element.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (event.key === "Escape" || event.key === "Delete") return onChange(null);
    if (!arrow || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(event.shiftKey ? resized(region, arrow) : moved(region, arrow[0] * STEP, arrow[1] * STEP));
    speak(inWords(region));
    timer = setTimeout(() => onChange(region), SETTLED_MS);
  });

  return {
    show,
    focus,
    /** A frame in the middle, to go on from with the keys. */
    begin() {
      show({ x: 0.2, y: 0.2, width: 0.6, height: 0.6 });
      focus();
      onChange(region);
    },
  };
}

/** @returns {{x: number, y: number}} where on the stage, in fractions */
function place(stage, { clientX, clientY }) {
  const { left, top, width, height } = stage.getBoundingClientRect();
  return { x: within((clientX - left) / width), y: within((clientY - top) / height) };
}

/** @returns {(to: {x: number, y: number}) => Region} what becomes of the frame where the pointer goes */
function changeFor(target, region, from) {
  const { corner } = target.dataset;
  if (corner) {
    const fixed = {
      x: corner.includes("w") ? region.x + region.width : region.x,
      y: corner.includes("n") ? region.y + region.height : region.y,
    };
    return (to) => between(fixed, to);
  }
  if (target.closest(".crop")) return (to) => moved(region, to.x - from.x, to.y - from.y);
  return (to) => between(from, to);
}

const within = (value, least = 0, most = 1) => Math.min(Math.max(value, least), most);

const between = (a, b) => ({
  x: Math.min(a.x, b.x),
  y: Math.min(a.y, b.y),
  width: Math.abs(a.x - b.x),
  height: Math.abs(a.y - b.y),
});

const moved = (region, right, down) => ({
  ...region,
  x: within(region.x + right, 0, 1 - region.width),
  y: within(region.y + down, 0, 1 - region.height),
});

const resized = (region, [right, down]) => ({
  ...region,
  width: within(region.width + right * STEP, LEAST, 1 - region.x),
  height: within(region.height + down * STEP, LEAST, 1 - region.y),
});

function inWords({ x, y, width, height }) {
  const [left, top, wide, high] = [x, y, width, height].map((part) => `${Math.round(100 * part)} %`);
  return `${left} from the left, ${top} from the top, ${wide} wide, ${high} high`;
}
