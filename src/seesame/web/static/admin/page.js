const listeners = [];

/** Calls these now, and whenever the page is shown anew. */
export function onShown(...shown) {
  listeners.push(...shown);
  for (const listener of shown) listener();
}

/**
 * Shows the page as the server has it now. The focus stays where it was; a button that is gone leaves it to the heading.
 *
 * @returns {Promise<boolean>} false while somebody is asked something, or the server does not answer with a page
 */
export async function refresh() {
  const response = await fetch(location.href).catch(() => null);
  if (response?.redirected) location.assign(response.url); // to where one signs in
  const isPage = response?.headers.get("content-type")?.startsWith("text/html");
  if (!isPage || response.redirected || document.querySelector("dialog[open]")) return false;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const focused = document.activeElement.closest("#main :is(a, button, input)");
  document.getElementById("main").replaceWith(document.adoptNode(page.getElementById("main")));
  if (focused) (sameAs(focused) ?? document.getElementById("heading")).focus();
  for (const listener of listeners) listener();
  return true;
}

function sameAs(element) {
  const nameOf = ({ ariaLabel, textContent }) => ariaLabel ?? textContent;
  const alike = [...document.querySelectorAll(`#main ${element.localName}`)];
  return alike.find((each) => nameOf(each) === nameOf(element));
}

/** Times as this browser writes them. */
export function localise() {
  const written = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of document.querySelectorAll("#main time")) time.textContent = written.format(new Date(time.dateTime));
}
