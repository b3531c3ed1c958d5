// Experiments: the arms, what was learned so far with its interval, and what was decided.
import { html, useEffect, useState } from "../lib.js";
import { getJson } from "../api.js";
import { Empty, Notice, Skeleton } from "../parts.js";
import { Experiment } from "./experiment.js";

const EVERY_MS = 4000;

export function Experiments({ store }) {
  const [found, setFound] = useState(null);
  const [failure, setFailure] = useState(null);
  const [round, setRound] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    const load = async () => {
      try {
        const { data } = await getJson("/console/api/experiments", { signal: control.signal });
        setFound(data);
        setFailure(null);
      } catch (error) {
        if (!control.signal.aborted) setFailure(error);
      }
    };
    load();
    const timer = setInterval(load, EVERY_MS);
    return () => {
      control.abort();
      clearInterval(timer);
    };
  }, [round]);
  if (failure) return html`<${Notice} tone="bad">${failure.message}<//>`;
  if (!found) return html`<${Skeleton} height=${300} />`;
  if (!found.length) {
    return html`<section class="card"><${Empty} icon="experiments" title="No experiment is configured">
      <p>An experiment splits requests between models and watches quality, errors and time with intervals that stay valid
        however often one looks. It rolls back by itself where the new arm is worse.</p><//></section>`;
  }
  return found.map((one) => html`<${Experiment} key=${one.name} one=${one} state=${store.state} again=${() => setRound(round + 1)} />`);
}
