// The last hour as the gateway tells it, made ready for plots: by model, task, language or status.
import { useEffect, useState } from "./lib.js";
import { getJson } from "./api.js";

export const DIMENSIONS = { model: 0, task: 1, language: 2, status: 3 };
const EVERY_MS = 5000;
const MOST_PARTS = 8;
const FEWEST = 11;

// The series, asked for again every few seconds while somebody looks at it.
export function useSeries() {
  const [series, setSeries] = useState(null);
  useEffect(() => {
    const control = new AbortController();
    const load = async () => {
      if (document.hidden) return;
      try {
        setSeries(await getJson("/console/api/series", { signal: control.signal }));
      } catch {
        // the frame says that the gateway does not answer
      }
    };
    load();
    const timer = setInterval(load, EVERY_MS);
    window.addEventListener("keys", load);
    return () => {
      control.abort();
      clearInterval(timer);
      window.removeEventListener("keys", load);
    };
  }, []);
  return series;
}

// Buckets of `step` seconds over the last `minutes`, empty ones too: {at, totals: Map(label → count), p50, p95, …}.
// Nothing is drawn of the time before `since`, when the gateway was started, but for a few buckets at least.
export function timeline(series, dimension, minutes, since = 0) {
  const step = minutes > 15 ? 60 : minutes > 5 ? 30 : series.step_s;
  const end = Math.floor(series.now_unix_s / step) * step;
  const born = Math.min(Math.floor(since / step) * step, end - FEWEST * step);
  const start = Math.max(end - minutes * 60 + step, born);
  const at = [];
  for (let moment = start; moment <= end; moment += step) at.push(moment);
  const slots = at.map(() => ({ totals: new Map(), requests: 0, tokens: 0, p50: null, p95: null, weight: 0 }));
  for (const bucket of series.buckets) {
    const slot = slots[Math.floor((bucket.at_unix_s - start) / step)];
    if (!slot || bucket.at_unix_s < start) continue;
    for (let i = 0; i < bucket.counts.length; i += 2) {
      const label = series.keys[bucket.counts[i]][DIMENSIONS[dimension]];
      slot.totals.set(label, (slot.totals.get(label) || 0) + bucket.counts[i + 1]);
    }
    slot.requests += bucket.requests;
    slot.tokens += bucket.tokens;
    if (bucket.p50_ms !== null) merge(slot, bucket);
  }
  return { at, step, slots, range: [start - step / 2, end + step] };
}

// Quantiles of several buckets, weighed by their requests: near enough for a plot of them.
function merge(slot, bucket) {
  const weight = slot.weight + bucket.requests;
  for (const [name, value] of [["p50", bucket.p50_ms], ["p95", bucket.p95_ms]]) {
    slot[name] = ((slot[name] || 0) * slot.weight + value * bucket.requests) / weight;
  }
  slot.weight = weight;
}

// The busiest labels as parts of a stack, all others as one.
export function partsOf(line, nameOf, colourOf) {
  const sums = new Map();
  for (const slot of line.slots) for (const [label, n] of slot.totals) sums.set(label, (sums.get(label) || 0) + n);
  const order = [...sums].sort((a, b) => b[1] - a[1]).map(([label]) => label);
  const shown = order.slice(0, order.length > MOST_PARTS ? MOST_PARTS - 1 : MOST_PARTS);
  const parts = shown.map((label, i) => ({
    name: nameOf(label), colour: colourOf(label, i), values: line.slots.map((slot) => slot.totals.get(label) || 0),
  }));
  const rest = order.slice(shown.length);
  if (rest.length) {
    const values = line.slots.map((slot) => rest.reduce((sum, label) => sum + (slot.totals.get(label) || 0), 0));
    parts.push({ name: `${rest.length} others`, colour: "var(--kind-9)", values });
  }
  return parts;
}

// Sums over the whole hour: requests, errors, hits, fallbacks, tokens, and how many ended well.
export function sums(series) {
  const found = { requests: 0, errors: 0, hits: 0, fallbacks: 0, tokens: 0, answered: 0 };
  for (const bucket of series.buckets) {
    for (const name of ["requests", "errors", "hits", "fallbacks", "tokens"]) found[name] += bucket[name];
    for (let i = 0; i < bucket.counts.length; i += 2) {
      if (series.keys[bucket.counts[i]][3] === "success") found.answered += bucket.counts[i + 1];
    }
  }
  return found;
}

// How often each pair of two dimensions met: Map(a → Map(b → count)).
export function crossed(series, one, other) {
  const found = new Map();
  for (const bucket of series.buckets) {
    for (let i = 0; i < bucket.counts.length; i += 2) {
      const key = series.keys[bucket.counts[i]];
      const [a, b] = [key[DIMENSIONS[one]], key[DIMENSIONS[other]]];
      if (!found.has(a)) found.set(a, new Map());
      found.get(a).set(b, (found.get(a).get(b) || 0) + bucket.counts[i + 1]);
    }
  }
  return found;
}
