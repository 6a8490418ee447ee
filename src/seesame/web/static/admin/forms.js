import { during, finish, sure } from "./actions.js";
import { ask, send } from "./api.js";

/** The forms of a page that change something, of which it has one at most. */
export function watchForms() {
  document.getElementById("upload")?.addEventListener("submit", upload);
  document.getElementById("new-space")?.addEventListener("submit", begin);
}

async function upload(event) {
  event.preventDefault();
  const form = event.target;
  const fields = new FormData(form);
  const file = fields.get("file");
  const sync = fields.get("mode") === "sync";
  if (sync && !(await sure(`Delete the products that ${file.name} does not name?`, "Import and delete"))) return;
  const bar = document.getElementById("sent");
  const query = new URLSearchParams({ mode: fields.get("mode"), force: sync && fields.has("force") });
  await during(event.submitter, async () => {
    bar.hidden = false;
    const job = await send(`/v1/imports?${query}`, file, (share) => { bar.value = share; }).finally(() => { bar.hidden = true; });
    location.assign(`/admin/imports/${job.id}`);
  });
}

async function begin(event) {
  event.preventDefault();
  const model = new FormData(event.target).get("model").trim();
  await during(event.submitter, async () => {
    await ask("/v1/spaces", { method: "POST", body: { model } });
    await finish(`${model} is on its way.`);
  });
}
