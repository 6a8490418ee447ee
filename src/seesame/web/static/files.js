/**
 * Photos that are chosen, taken, pasted, or dropped anywhere on the page.
 *
 * @param {(file: File) => void} onFile
 */
export function acceptFiles(onFile) {
  const take = (files) => {
    const file = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
    if (file) onFile(file);
  };

  for (const id of ["image", "camera"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => {
      take(input.files);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    const typing = event.target.matches?.("input");
    if (!files.length || (typing && event.clipboardData.getData("text/plain"))) return; // office programs send both
    event.preventDefault();
    take(files);
  });
  acceptDrops(take);
}

function acceptDrops(take) {
  const landing = document.getElementById("landing");
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

  document.addEventListener("dragenter", (event) => { landing.hidden = !carriesFiles(event); });
  document.addEventListener("dragleave", (event) => { landing.hidden ||= !event.relatedTarget; });
  document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    landing.hidden = true;
    take(event.dataTransfer.files);
  });
}
