const listeners = [];

/** Calls these now, and whenever the page is shown anew. */
export function onShown(...shown) {
  listeners.push(...shown);
  for (const listener of shown) listener();
}

/**
 * Shows the page as the server has it now. Whoever reads on stays where they are; a button that is gone leaves its focus
 * to the heading.
 */
export async function refresh() {
  const response = await fetch(location.href);
  if (!response.headers.get("content-type")?.startsWith("text/html")) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const focused = document.activeElement;
  const label = focused?.closest("#main") && focused.getAttribute("aria-label");
  document.getElementById("main").replaceWith(document.adoptNode(page.getElementById("main")));
  if (!focused?.isConnected) (again(label) ?? document.getElementById("heading")).focus();
  for (const listener of listeners) listener();
}

function again(label) {
  return label && document.querySelector(`#main [aria-label="${CSS.escape(label)}"]`);
}

/** Times as this browser writes them. */
export function localise() {
  const written = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of document.querySelectorAll("#main time")) time.textContent = written.format(new Date(time.dateTime));
}
