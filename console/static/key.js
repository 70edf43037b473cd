/** The API key that the page asks with: typed in once, kept for this tab, sent to this api alone. */

const NAME = "tidemill-key";
const by = (id) => document.getElementById(id);

/** The headers that say who asks; none before a key was given. */
export function keyHeaders() {
  const key = sessionStorage.getItem(NAME);
  return key === null ? {} : { "x-api-key": key };
}

/** Ask for a key, unless the page is doing so already. */
export function askForKey() {
  if (by("key").open) return;
  sessionStorage.removeItem(NAME);
  by("key").showModal();
}

/** Keep what is typed in, then call `onKey()`. */
export function takeKey(onKey) {
  by("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(NAME, by("key-text").value.trim());
    by("key-form").reset();
    by("key").close();
    onKey();
  });
}
