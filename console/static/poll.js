/** Fetch an answer once a second, and less and less often while it fails. */

import { askForKey, keyHeaders } from "./key.js";

const EVERY_MS = 1000;
const LONGEST_MS = 30000;
const TIMEOUT_MS = 5000;

/** The wait before try number `failures` + 1: doubles from `everyMs`, stops at thirty seconds. */
export function waitAfter(failures, everyMs = EVERY_MS) {
  return Math.min(LONGEST_MS, everyMs * 2 ** Math.max(0, failures - 1));
}

/** Poll `url` until the page goes away; `onStatus(status)` on success, `onFailure(error, waitMs)` else. */
export function poll(url, { onStatus, onFailure }, everyMs = EVERY_MS) {
  let failures = 0;
  let timer = null;
  let busy = false;

  async function turn() {
    clearTimeout(timer);
    // A hidden page asks for nothing, so a forgotten tab costs the api nothing.
    if (busy || document.hidden) return;
    busy = true;
    let status = null;
    try {
      status = await fetchStatus(url);
      failures = 0;
    } catch (error) {
      failures += 1;
      onFailure(error, waitAfter(failures, everyMs));
    } finally {
      busy = false;
      timer = setTimeout(turn, waitAfter(failures, everyMs));
    }
    // Outside the try: a fault in drawing must reach the console, not look like a lost connection.
    if (status !== null) onStatus(status);
  }

  document.addEventListener("visibilitychange", turn);
  window.addEventListener("online", turn);
  turn();
}

async function fetchStatus(url) {
  const response = await fetch(url, {
    cache: "no-store",
    headers: { accept: "application/json", ...keyHeaders() },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (response.status === 401 || response.status === 403) askForKey();
  if (!response.ok) throw new Error(`status answered ${response.status}`);
  return response.json();
}
