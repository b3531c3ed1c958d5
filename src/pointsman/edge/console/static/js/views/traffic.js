// Live traffic: the figures of now, the last minutes as plots, every request as it ends.
import { html, useMemo, useState } from "../lib.js";
import { Plot, Stacked, Legend } from "../charts.js";
import { count, duration, language, parts, percent, rate, status, words } from "../format.js";
import { Card, Chips, Skeleton } from "../parts.js";
import { partsOf, sums, timeline, useSeries } from "../series.js";
import { colourOf, kindOf, rateOver } from "../store.js";
import { Requests } from "./requests.js";

const STATUS_COLOURS = {
  success: "var(--ok)", client_error: "var(--warn)", refused: "var(--kind-2)", error: "var(--bad)",
  client_closed: "var(--idle)",
};
const BY = [["model", "Model"], ["task", "Task"], ["language", "Language"], ["status", "Status"]];
const SPANS = [[5, "5 min"], [15, "15 min"], [60, "1 h"]];

export const since = (state) => state?.statistics.since_unix_s || 0;

export function nameFor(dimension) {
  if (dimension === "language") return language;
  if (dimension === "status") return status;
  return (label) => words(label) || (dimension === "model" ? "no model" : "unknown");
}

export function colourFor(dimension, state) {
  if (dimension === "model") return (label) => colourOf(state, label);
  if (dimension === "status") return (label) => STATUS_COLOURS[label] || "var(--idle)";
  return (_, i) => kindOf(i);
}

export function Traffic({ store }) {
  const series = useSeries();
  const [by, setBy] = useState("model");
  const [minutes, setMinutes] = useState(5);
  return html`<${Tiles} store=${store} series=${series} />
    <div class="grid">
      <${Card} class="span-8 wide-first" title="Requests" tools=${html`
        <${Chips} label="Requests by" options=${BY} value=${by} onPick=${setBy} />
        <${Chips} label="Span" options=${SPANS} value=${minutes} onPick=${setMinutes} />`}>
        ${series ? html`<${Volume} series=${series} by=${by} minutes=${minutes} state=${store.state} />`
                 : html`<${Skeleton} height=${212} />`}
      <//>
      <${Card} class="span-4 wide-first" title="Time to a whole answer">
        ${series ? html`<${Latency} series=${series} minutes=${minutes} state=${store.state} />` : html`<${Skeleton} height=${212} />`}
      <//>
    </div>
    <${Requests} store=${store} />`;
}

function Tiles({ store, series }) {
  const hour = useMemo(() => (series ? sums(series) : null), [series]);
  const recent = store.rows.filter((row) => row.status === "success" && row.cache !== "hit").slice(0, 200);
  const ordered = recent.map((row) => row.total_s).sort((a, b) => a - b);
  const quantile = (q) => ordered[Math.min(ordered.length - 1, Math.floor(q * ordered.length))];
  const [p50, unit] = parts(duration(quantile(0.5)));
  const share = (n) => (hour && hour.requests ? percent(n / hour.requests) : "—");
  const [ok, okUnit] = parts(hour && hour.requests ? percent(hour.answered / hour.requests) : "—");
  const perSecond = rate(rateOver(store.beats, 30));
  return html`<dl class="tiles">
    <${Tile} name="Requests" value=${perSecond} unit="/s" note=${`${count(store.last)} since start`} />
    <${Tile} name="In flight" value=${count(store.inFlight)} note=${queued(store.fleet)} />
    <${Tile} name="Answered, 1 h" value=${ok} unit=${okUnit} note=${hour ? `${count(hour.errors)} failed or refused` : ""} />
    <${Tile} name="Median time" value=${p50} unit=${unit} note=${`95 % within ${duration(quantile(0.95))}`} />
    <${Tile} name="Tokens written" value=${hour ? count(hour.tokens) : "—"} note="by models, 1 h" />
    <${Tile} name="From cache" value=${parts(share(hour?.hits))[0]} unit=${parts(share(hour?.hits))[1]}
      note=${`${share(hour?.fallbacks)} fell back`} />
  </dl>`;
}

const queued = (fleet) => {
  const waiting = fleet ? fleet.deployments.reduce((sum, one) => sum + one.queued, 0) : 0;
  return waiting ? `${waiting} waiting for a slot` : "nobody waits";
};

function Tile({ name, value, unit, note }) {
  return html`<div class="card tile"><dt>${name}</dt><dd>${value}${unit && html`<small>${unit}</small>`}</dd>
    <dd class="note">${note}</dd></div>`;
}

function Volume({ series, by, minutes, state }) {
  const line = useMemo(() => timeline(series, by, minutes, since(state)), [series, by, minutes, state]);
  const stack = useMemo(() => partsOf(line, nameFor(by), colourFor(by, state)), [line, state]);
  const total = line.slots.reduce((sum, slot) => sum + slot.requests, 0);
  return html`<${Stacked} at=${line.at} parts=${stack} height=${190} xRange=${line.range}
    format=${(n) => (n < 1 && n > 0 ? "" : count(n))} label=${`${total} requests in ${minutes} minutes, by ${by}`} />`;
}

const LATENCY = [
  { name: "95 % within", colour: "var(--kind-2)", of: "p95" },
  { name: "half within", colour: "var(--kind-1)", of: "p50" },
];

function Latency({ series, minutes, state }) {
  const line = useMemo(() => timeline(series, "status", minutes, since(state)), [series, minutes, state]);
  const lines = LATENCY.map(({ name, colour, of }) => ({
    label: name, colour, style: "line", values: line.slots.map((slot) => slot[of]),
  }));
  const tip = (i) =>
    LATENCY.filter(({ of }) => line.slots[i][of] !== null).map(({ name, colour, of }) => ({
      name, colour, value: duration(line.slots[i][of] / 1000),
    }));
  const last = [...line.slots].reverse().find((slot) => slot.p50 !== null);
  return html`<${Plot} at=${line.at} lines=${lines} height=${190} xRange=${line.range} tip=${tip}
      format=${(ms) => (ms ? duration(ms / 1000) : "0")}
      label=${last ? `Lately half within ${duration(last.p50 / 1000)}, 95 % within ${duration(last.p95 / 1000)}` : "No answers yet"} />
    <${Legend} parts=${LATENCY} />`;
}
