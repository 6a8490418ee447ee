/** What the API refused, or what kept it from answering, in words for people. */
export class Refused extends Error {}

const UNREACHABLE = "The server cannot be reached. Check the connection, then try again.";

/**
 * Asks the API. A body is sent as JSON, which pages of other sites cannot send.
 *
 * @returns {Promise<?Object>} null where there is nothing to say
 * @throws {Refused}
 */
export async function ask(path, { method = "GET", body } = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const response = await fetch(path, { method, ...sent }).catch(() => { throw new Refused(UNREACHABLE); });
  return answerOf(response.status, await response.text());
}

/**
 * Sends a file as a form.
 *
 * @param {(share: number) => void} onSent how much of it has left, from 0 to 1
 * @throws {Refused}
 */
export function send(path, file, onSent) {
  const request = new XMLHttpRequest(); // fetch does not tell how much was sent
  const form = new FormData();
  form.append("file", file);
  return new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", ({ loaded, total }) => onSent(loaded / total));
    request.addEventListener("error", () => reject(new Refused(`${UNREACHABLE} A file that is too large is cut off, too.`)));
    request.addEventListener("load", () => {
      try {
        resolve(answerOf(request.status, request.responseText));
      } catch (error) {
        reject(error);
      }
    });
    request.open("POST", path);
    request.send(form);
  });
}

function answerOf(status, text) {
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    // a proxy answered in the server's place
  }
  if (status >= 200 && status < 300) return answer;
  throw new Refused(answer?.detail ?? `The server cannot answer now (${status}). Try again in a moment.`);
}
