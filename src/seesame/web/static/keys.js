const TARGETS = { "/": "words", p: "image", c: "crop" };

/** "/" leads to the words, "p" chooses a photo, "c" chooses a part of it. */
export function shortcuts() {
  document.addEventListener("keydown", (event) => {
    const id = TARGETS[event.key];
    if (!id || event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input")) return;
    const element = document.getElementById(id);
    if (!element.checkVisibility() && id !== "image") return;
    event.preventDefault();
    if (id === "words") element.select();
    else element.click();
  });
}
