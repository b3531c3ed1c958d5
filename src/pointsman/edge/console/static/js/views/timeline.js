// When each deployment was loaded, asleep or gone, over the last hour: read backwards from what it is now.
import { html } from "../lib.js";
import { minute, span } from "../format.js";
import { Empty } from "../parts.js";
import { Legend } from "../charts.js";

const [SHORTEST_S, HOUR_S] = [300, 3600];
const COLOURS = {
  hot: "color-mix(in srgb, var(--ok) 72%, var(--surface))", loading: "var(--kind-2)", asleep: "var(--info)", failed: "var(--bad)",
};
const LEGEND = [["ready", "hot"], ["loading", "loading"], ["asleep", "asleep"], ["failed or died", "failed"]].map(
  ([name, key]) => ({ name, colour: COLOURS[key] }),
);

// What an event says of the time before it and after it.
const AFTER = {
  model_loaded: "hot", model_awake: "hot", model_asleep: "asleep", model_unloading: "cold", model_died: "failed",
  model_load_failed: "failed", model_reachable: "hot", model_restarting: "loading", model_wake_failed: "cold",
};

const detail = (event, name) => (event.details || []).find(([key]) => key === name)?.[1];
const nowOf = (one) =>
  one.state === "failed" ? "failed" : one.tier === "hot" ? "hot" : one.tier === "warm" ? "asleep"
    : ["loading", "starting"].includes(one.state) ? "loading" : "cold";

// Spans of one deployment, oldest first: {from, to, what, why}.
function spansOf(one, events, now, length) {
  const marks = [];
  for (const event of events) {
    if (detail(event, "deployment") !== one.id || !AFTER[event.name]) continue;
    const took = detail(event, "load_s");
    if (took) marks.push({ at: event.at - took, what: "loading", why: "loading" });
    marks.push({ at: event.at, what: AFTER[event.name], why: event.message });
  }
  marks.sort((a, b) => a.at - b.at);
  const began = { at: now - one.age_s, what: nowOf(one), why: one.state };
  if (!marks.length) marks.push(began);
  return marks
    .map((mark, i) => ({ from: Math.max(mark.at, now - length), to: marks[i + 1]?.at ?? now, what: mark.what, why: mark.why }))
    .filter((found) => found.to > found.from && found.what !== "cold");
}

// Not longer than the gateway has lived, so that a young one's is no empty line.
export function Timeline({ fleet, events, now, since }) {
  const length = Math.min(HOUR_S, Math.max(SHORTEST_S, now - since));
  const managed = fleet.deployments;
  if (!managed.length) return html`<${Empty} icon="fleet" title="No deployment" />`;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => now - length * (1 - share));
  const x = (at) => `${(100 * (at - now + length)) / length}%`;
  return html`<div class="timeline">
    ${managed.map((one) => html`<div class="lane-row" key=${one.id}><span class="clip small soft" title=${one.id}>${one.id}</span>
      <div class="lane" role="img" aria-label=${saidOf(one, spansOf(one, events, now, length))}>
        ${spansOf(one, events, now, length).map((found) => html`<i style=${{ left: x(found.from), width: `max(3px, ${(100 * (found.to - found.from)) / length}%)`, background: COLOURS[found.what] }}
          title=${found.why}></i>`)}</div></div>`)}
    <div class="lane-row"><span></span><div class="scale tiny muted">${ticks.map((at) => html`<span>${minute(at)}</span>`)}</div></div>
    <${Legend} parts=${LEGEND} /></div>`;
}

const saidOf = (one, spans) =>
  `${one.id}: ${spans.map(({ what, from, to }) => `${what === "hot" ? "ready" : what} for ${span(to - from)}`).join(", ") || "not loaded"}`;
