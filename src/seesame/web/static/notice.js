/** Tell those who cannot see the page. */
export const speak = (text) => { document.getElementById("spoken").textContent = text; };

/** Say, where the products would be, that no page came from the server. */
export function unreachable({ status }, large) {
  const notice = document.getElementById("unreachable").content.cloneNode(true);
  const [title, detail] = wordsFor(status, large);
  notice.querySelector(".notice-title").textContent = title;
  notice.querySelector(".notice-detail").textContent = detail;
  document.querySelector("#answer .notice")?.remove();
  document.getElementById("answer").append(notice);
  speak("");
}

/** A proxy may answer in the server's place, and a server may cut off an upload that is too large before it says so. */
function wordsFor(status, large) {
  if (status === 413 || (status === 0 && large)) return ["This photo is too large", "Try a smaller one."];
  if (status === 0) return ["The server cannot be reached", "Check the connection, then try again."];
  return ["The server cannot answer now", "Try again in a moment."];
}
