const template = document.getElementById("message").content;

const WORDS_FOR_REASON = {
  clip_unavailable: "The CLIP model was not available, so the smaller built-in model answered.",
  clip_timeout: "The CLIP model took too long, so the smaller built-in model answered.",
  clip_busy: "The CLIP model was busy, so the smaller built-in model answered.",
  clip_downloading: "The CLIP model was still being downloaded, so the smaller built-in model answered.",
  clip_indexing: "The CLIP model was still indexing, so the smaller built-in model answered.",
  no_text_model: "No CLIP model that reads was here, so words were matched with the products’ texts.",
};

/** Say in a quiet line why an answer is less good than it could be; nothing if it is not. */
export function explain(reason) {
  const words = reason && (WORDS_FOR_REASON[reason] ?? "This answer is less precise than usual.");
  const banner = document.getElementById("banner");
  if (banner.textContent !== (words || "")) banner.textContent = words || "";
}

/**
 * Say something where the products would be.
 *
 * @param {{title: string, detail?: string, code?: string, onRetry?: () => void}} message
 */
export function say({ title, detail = "", code = "", onRetry = null }) {
  const element = template.cloneNode(true).firstElementChild;
  element.querySelector(".notice-title").textContent = title;
  const paragraph = element.querySelector(".notice-detail");
  paragraph.textContent = detail;
  if (code) paragraph.append(Object.assign(document.createElement("code"), { textContent: code }));
  if (onRetry) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
    button.addEventListener("click", onRetry);
    element.append(button);
  }
  document.getElementById("notice").replaceChildren(element);
}

export const saySilence = () => document.getElementById("notice").replaceChildren();

/** Tell those who cannot see the page. */
export const speak = (text) => { document.getElementById("spoken").textContent = text; };
