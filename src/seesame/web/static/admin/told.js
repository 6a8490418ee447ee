const KEY = "seesame-told";

/** Says at the top of the page what came of something. */
export function tell(words, { alarm = false } = {}) {
  const told = document.getElementById("told");
  const line = document.createElement("p");
  line.textContent = words;
  line.className = alarm ? "alarm" : "";
  told.replaceChildren(line);
}

/** Says it on the page that comes next. */
export const leave = (words) => sessionStorage.setItem(KEY, words);

/** Says what the page before has left. */
export function tellLeft() {
  const words = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  if (words) tell(words);
}
