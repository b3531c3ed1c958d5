// The one connection on which the gateway tells what is new. It is closed while nobody looks at the page.
import { ask, eventsOf, getJson } from "./api.js";
import { get, hear, set } from "./store.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
let stop = null;

export function follow() {
  const again = () => {
    stop?.abort();
    if (!document.hidden) run();
  };
  document.addEventListener("visibilitychange", again);
  window.addEventListener("keys", again);
  again();
}

async function run() {
  const mine = (stop = new AbortController());
  let wait = FIRST_WAIT_MS;
  while (!mine.signal.aborted) {
    try {
      await listen(mine.signal, () => (wait = FIRST_WAIT_MS));
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error.status === 401 || error.status === 403) {
        set({ link: "denied", refusal: { message: error.message, code: error.code } });
        return;
      }
    }
    if (mine.signal.aborted) return;
    set({ link: "lost" });
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

async function listen(signal, heard) {
  const { last, lastEvent } = get();
  set({ state: await getJson("/console/api/state", { signal }) });
  const response = await ask(`/console/api/live?after=${last}&after_event=${lastEvent}`, { signal });
  for await (const data of eventsOf(response)) {
    hear(JSON.parse(data));
    heard();
  }
}
