// What the page knows, in one frozen value that is replaced whole; who draws subscribes to it.
import { useEffect, useState } from "./lib.js";

const MOST_ROWS = 500;
const MOST_EVENTS = 400;
const KEPT_S = 180;

let value = Object.freeze({
  link: "connecting", // connecting, live, lost, denied
  refusal: null, // why denied: the error's message and code
  last: 0,
  lastEvent: 0,
  inFlight: 0,
  rows: [], // newest first
  beats: [], // {at, last}: how many requests there had been when
  fleet: null,
  memory: [], // {at, used}
  events: [], // newest first
  state: null, // version, strategy, models
  now: Date.now() / 1000,
});
const listeners = new Set();

export const get = () => value;

export function set(change) {
  value = Object.freeze({ ...value, ...change });
  for (const listener of listeners) listener(value);
}

export function useStore() {
  const [seen, show] = useState(value);
  useEffect(() => {
    listeners.add(show);
    show(value);
    return () => listeners.delete(show);
  }, []);
  return seen;
}

// One message of the gateway. Numbers that went back mean it was started anew.
export function hear(news) {
  const isNew = news.last < value.last;
  const at = news.at_unix_s;
  const old = isNew ? [] : value.rows;
  const rows = news.rows ? [...news.rows].reverse().concat(old).slice(0, MOST_ROWS) : old;
  const told = (news.events || []).map((one) => ({ number: one.number, at: one.at_unix_s, ...one.event }));
  const beats = (isNew ? [] : value.beats).filter((beat) => beat.at > at - KEPT_S).concat({ at, last: news.last });
  const memory = news.fleet
    ? value.memory.filter((one) => one.at > at - KEPT_S).concat({ at, used: news.fleet.used_bytes })
    : value.memory;
  set({
    link: "live",
    refusal: null,
    last: news.last,
    lastEvent: told.length ? told[told.length - 1].number : isNew ? 0 : value.lastEvent,
    inFlight: news.in_flight,
    rows,
    beats,
    memory,
    fleet: news.fleet || value.fleet,
    events: told.length ? told.reverse().concat(isNew ? [] : value.events).slice(0, MOST_EVENTS) : value.events,
    now: at,
  });
}

// Requests a second over the last `window` seconds that were seen.
export function rateOver(beats, window) {
  if (beats.length < 2) return 0;
  const end = beats[beats.length - 1];
  const start = beats.find((beat) => beat.at >= end.at - window) || beats[0];
  return end.at > start.at ? (end.last - start.last) / (end.at - start.at) : 0;
}

// A colour for each model, by its place in the settings, so that it is the same in every view.
export function kindOf(index) {
  return `var(--kind-${Math.min(index, 8) + 1})`;
}

export function colourOf(state, model) {
  const known = (state?.models || []).filter((one) => one.kinds.length && !one.alias_of);
  const at = known.findIndex((one) => one.id === model);
  return at < 0 ? "var(--kind-9)" : kindOf(at % 8);
}
