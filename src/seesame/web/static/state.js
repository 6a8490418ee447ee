const EVERY_MS = 5000;
const PATIENCE_MS = 8000;

/** @typedef {{status: string, database: string, degraded_reason: ?string, clip: {status: string, since: ?string}}} Health */

/** The line that says how the service is, asked for again and again while the page can be seen. */
export function serviceState() {
  const line = document.getElementById("state");
  let asked = 0;
  let timer;

  const refresh = async () => {
    if (line.hidden) return;
    const mine = ++asked;
    const health = await fetchHealth().catch(() => ({ status: "unreachable" }));
    if (mine !== asked) return; // asked again meanwhile
    clearTimeout(timer);
    line.hidden = health === null;
    if (health === null) return;
    if (!document.hidden) timer = setTimeout(refresh, EVERY_MS);
    const [level, words] = stateOf(health);
    line.dataset.level = level;
    if (line.textContent !== words) line.textContent = words; // or screen readers would read it each time
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) refresh();
  });
  refresh();

  return {
    refresh,
    /** Ask at once if an answer, degraded for this reason or none, does not fit what the line says. */
    compare(reason) {
      if (Boolean(reason) !== (line.dataset.level === "degraded")) refresh();
    },
  };
}

/** @returns {Promise<?Health>} null where it is not for whoever looks at the page */
async function fetchHealth() {
  const response = await fetch("/health", { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (response.status === 401 || response.status === 403) return null;
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

/** @param {Health} health @returns {[string, string]} the level, for its colour, and the words */
function stateOf({ status, database, clip, degraded_reason: reason }) {
  if (status === "unreachable") return ["down", "The server cannot be reached"];
  if (database === "down") return ["down", "The database cannot be reached"];
  const trouble = troubleOf(clip, reason);
  return trouble ? ["degraded", `${trouble}; the built-in model answers`] : ["ok", "CLIP answers"];
}

function troubleOf(clip, reason) {
  if (clip.status === "unavailable") return `CLIP unavailable since ${timeOf(clip.since)}`;
  if (reason === "clip_downloading") return "CLIP is being downloaded";
  if (clip.status === "starting") return "CLIP is loading";
  if (clip.status === "unknown") return "Looking for CLIP";
  if (reason === "clip_indexing") return "CLIP is indexing the catalogue";
  if (!reason) return null;
  return clip.status === "in_process" ? "CLIP is not loaded" : "CLIP does not answer";
}

/** The time of day, with the day where that is not today. */
function timeOf(since) {
  const moment = new Date(since);
  const today = moment.toDateString() === new Date().toDateString();
  const day = today ? {} : { day: "numeric", month: "short" };
  return new Intl.DateTimeFormat(undefined, { ...day, hour: "2-digit", minute: "2-digit" }).format(moment);
}
