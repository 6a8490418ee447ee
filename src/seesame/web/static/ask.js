/**
 * Asks the server for a page and puts its parts in the place of those that are there. A newer wish cancels the one in
 * flight, so answers never overtake each other.
 *
 * @typedef {import("./history.js").Photo} Photo
 * @typedef {{fields: URLSearchParams, photo?: ?Photo,
 *            how?: "fresh" | "narrow" | "append" | "recall"}} Wish
 *   fresh: reading begins at the heading; narrow: it stays where it is; append: more of the same; recall: by the history
 */
import { remember } from "./history.js";
import { settle, show, wait } from "./parts.js";
import { speak, unreachable } from "./notice.js";

const LARGE_BYTES = 10_000_000;
let controller = new AbortController();
/** @type {Wish} */
let latest;
const listeners = [];

/** @param {(event: {photo: ?Photo, begun: boolean}) => void} listener */
export const onAnswer = (listener) => listeners.push(listener);

/** Ask the same once more. */
export const again = () => ask(latest ?? { fields: new URLSearchParams(location.search) });

/** @param {Wish} wish */
export async function ask(wish) {
  const { fields, photo = null, how = "fresh" } = (latest = wish);
  controller.abort();
  const { signal } = (controller = new AbortController());
  wait(how);
  speak("Searching");
  for (const listener of listeners) listener({ photo, begun: true });
  try {
    const page = await load(fields, photo, signal);
    if (signal.aborted) return;
    const { address, photoId, refused } = show(page, how);
    if (photo) photo.id = photoId;
    const searched = refused ? null : photo; // words that follow are not to be searched with a file that is no picture
    if (how === "fresh" || how === "narrow") remember(address, searched);
    for (const listener of listeners) listener({ photo: searched, begun: false });
  } catch (error) {
    if (signal.aborted) return;
    settle();
    unreachable(error, photo?.blob?.size > LARGE_BYTES);
    if (!(error instanceof Unanswered)) throw error; // a mistake in this page: the console is to show it
  }
}

/** No page came back, but this status; 0 where nothing did. */
class Unanswered extends Error {
  constructor(status) {
    super(`No page, status ${status}`);
    this.status = status;
  }
}

/** @returns {Promise<Document>} */
async function load(fields, photo, signal) {
  let response = await send(fields, photo, signal);
  if (response.status === 404 && photo?.id && photo.blob) {
    photo.id = null; // the server keeps it no longer
    response = await send(fields, photo, signal);
  }
  if (response.redirected) { // to where one signs in
    location.assign(response.url);
    return new Promise(() => {}); // this page is left
  }
  if (!response.headers.get("content-type")?.startsWith("text/html")) throw new Unanswered(response.status);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function send(fields, photo, signal) {
  const sent = photo ? fetch("/", { method: "POST", body: bodyOf(fields, photo), signal }) : fetch(`/?${fields}`, { signal });
  return sent.catch((error) => {
    throw error.name === "AbortError" ? error : new Unanswered(0);
  });
}

function bodyOf(fields, { blob, id, region }) {
  const body = new FormData();
  for (const [name, value] of fields) body.append(name, value);
  if (region) body.set("region", [region.x, region.y, region.width, region.height].join(","));
  if (id) body.set("photo", id);
  else if (blob) body.set("image", blob, "photo");
  return body;
}
