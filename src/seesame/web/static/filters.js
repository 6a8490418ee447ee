/**
 * The filters: they apply as they change, and one is open at a time.
 *
 * @param {() => void} onChange
 */
export function watchFilters(onChange) {
  const open = () => document.querySelector("#filters details[open]");

  document.addEventListener("change", ({ target }) => {
    if (target.closest("#filters") && target.validity.valid) onChange();
  });
  document.addEventListener("click", ({ target }) => {
    if (target.isConnected && !target.closest("#filters details")) open()?.removeAttribute("open");
  });
  document.addEventListener("keydown", ({ key }) => {
    const details = key === "Escape" && open();
    if (!details) return;
    details.removeAttribute("open");
    details.querySelector("summary").focus();
  });
}
