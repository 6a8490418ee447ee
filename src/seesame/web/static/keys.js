/** "/" leads to the words. */
export function shortcuts() {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input")) return;
    event.preventDefault();
    document.getElementById("words").select();
  });
}
