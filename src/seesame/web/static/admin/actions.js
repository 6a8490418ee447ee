import { ask, Refused } from "./api.js";
import { refresh } from "./page.js";
import { leave, tell } from "./told.js";

/** Buttons that say in their data what they ask of the API: method, path, body, a question first, and what is done then. */
export function watchActions() {
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest?.("button[data-path]");
    if (!button) return;
    const { method, path, body, sure: question, done, then } = button.dataset;
    if (question && !(await sure(question, button.textContent))) return;
    await during(button, async () => {
      await ask(path, { method, body: body && JSON.parse(body) });
      await finish(done, then);
    });
  });
}

/** Does something that may be refused, once at a time. The button keeps its focus: one that is disabled would lose it. */
export async function during(button, work) {
  if (button.ariaDisabled) return;
  button.ariaDisabled = "true";
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // a mistake in this page: the console is to show it
    tell(error.message, { alarm: true });
  } finally {
    button.ariaDisabled = null;
  }
}

/** Says what was done, here or on the page where it leads. */
export async function finish(done, then) {
  if (then) {
    leave(done);
    location.assign(then);
  } else {
    await refresh();
    tell(done);
  }
}

/** @returns {Promise<boolean>} whether somebody is sure */
export function sure(question, yes) {
  const dialog = document.getElementById("sure");
  document.getElementById("question").textContent = question;
  document.getElementById("yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
