const template = document.getElementById("message").content;

const WORDS_FOR_REASON = {
  clip_unavailable: "The CLIP model is not available; answers come from the smaller built-in model.",
  clip_downloading: "The CLIP model is being downloaded; until then answers come from the smaller built-in model.",
  clip_indexing: "The CLIP index is being prepared; until then answers come from the smaller built-in model.",
  no_text_model: "Words are matched against product texts, since no CLIP model is loaded.",
};

/** Say in a quiet line why answers are less good than they could be; nothing if they are not. */
export function explain(reason) {
  const words = reason && (WORDS_FOR_REASON[reason] ?? "Answers are less precise than usual for now.");
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
