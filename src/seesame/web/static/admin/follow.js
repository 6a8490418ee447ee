import { ask, Refused } from "./api.js";
import { refresh } from "./page.js";
import { tell } from "./told.js";

const JOB_MS = 1000;
const HEALTH_MS = 5000;
const ENDED = { succeeded: "has ended", failed: "has failed", cancelled: "was stopped" };

/** @typedef {{id: string, status: string, total: number, done: number, failed: number, counts: Object<string, number>,
 *             errors: {line: ?number, product_id: ?string, code: string, message: string}[]}} Job */

/** Follows the imports that are shown and run, and the health where that is shown. */
export function follow() {
  for (const element of document.querySelectorAll("[data-job]")) again(element, JOB_MS, followJob);
  const health = document.getElementById("health");
  if (health) again(health, HEALTH_MS, followHealth);
}

/** Looks now and then, while the element is there and somebody can see it. `lost`: the last look failed. */
function again(element, everyMs, look, lost = false) {
  setTimeout(async () => {
    if (!element.isConnected) return;
    let failed = false;
    try {
      if (!document.hidden) await look(element);
      if (lost) tell("The server answers again.");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      failed = true;
      if (!lost) tell(error.message, { alarm: true });
    }
    again(element, everyMs, look, failed);
  }, everyMs);
}

async function followJob(element) {
  const { job: id, status, name } = element.dataset;
  const job = await ask(`/v1/jobs/${id}`);
  if (!element.isConnected) return;
  show(element, job);
  if (job.status !== status && (await refresh()) && job.status in ENDED) tell(`${name} ${ENDED[job.status]}.`);
}

/** @param {Job} job */
function show(element, job) {
  const part = (name) => element.querySelector(`[data-part="${name}"]`);
  const bar = part("bar");
  bar.max = Math.max(job.total, job.done, 1);
  bar.value = job.done;
  for (const [name, number] of Object.entries({ ...job.counts, done: job.done, total: job.total, failed: job.failed })) {
    const place = part(name);
    if (place) place.textContent = number.toLocaleString("en");
  }
  const lines = part("lines");
  if (!lines) return;
  for (const error of job.errors.slice(lines.rows.length)) lines.append(lineOf(part("line"), error));
  part("errors").hidden = !job.errors.length;
}

function lineOf(template, { line, product_id: productId, code, message }) {
  const row = template.content.cloneNode(true);
  const cells = row.querySelectorAll("td");
  const texts = [line ?? "", productId ?? "", message, code];
  cells.forEach((cell, number) => { (cell.querySelector("code") ?? cell).textContent = texts[number]; });
  return row;
}

async function followHealth(element) {
  const { status, clip, degraded_reason: reason, answers_from: answers, parts } = await ask("/health");
  const states = Object.values(parts).map((part) => part.status);
  const now = [status, clip.status, reason ?? "", answers ?? "", states.join(",")].join("|");
  if (element.isConnected && now !== element.dataset.health) await refresh();
}
