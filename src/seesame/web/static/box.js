/**
 * The search box. A photo may be chosen, pasted or dropped anywhere on the page; words are typed.
 *
 * @param {{onPhoto: (photo: File) => void, onWords: (words: string) => void, onEmptied: () => void}} listeners
 */
export function searchBox({ onPhoto, onWords, onEmptied }) {
  const form = document.getElementById("box");
  const words = document.getElementById("words");
  const photo = document.getElementById("photo");

  const take = (files) => {
    const file = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
    if (file) onPhoto(file);
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = words.value.trim();
    if (text) onWords(text);
    else words.focus();
  });
  words.addEventListener("search", () => words.value || onEmptied()); // the browser's own "x"
  document.getElementById("pick").addEventListener("click", () => photo.click());
  photo.addEventListener("change", () => {
    take(photo.files);
    photo.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    const textWanted = isTyping(event) && event.clipboardData.getData("text/plain"); // office programs send both
    if (!files.length || textWanted) return;
    event.preventDefault();
    take(files);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    words.select();
  });
  acceptDrops(take);

  return { show: (text) => { words.value = text; } };
}

const isTyping = (event) => event.target.matches?.("input");

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
