// Every request as it ends, newest first: filtered, paused, opened.
import { html, useMemo, useRef, useState } from "../lib.js";
import { clock, duration, language, words } from "../format.js";
import { Icon } from "../icons.js";
import { Card, Chips, Dot, Empty, Skeleton, Status } from "../parts.js";
import { colourOf } from "../store.js";

const MOST_SHOWN = 60;
const WHICH = [["all", "All"], ["trouble", "Trouble"], ["fallback", "Fell back"], ["cache", "From cache"]];
const PASSES = {
  all: () => true,
  trouble: (row) => row.status !== "success",
  fallback: (row) => Boolean(row.fallback_from) || row.attempts > 1,
  cache: (row) => row.cache === "hit" || row.cache === "semantic",
};
const EXAMPLE = `curl -s ${location.origin}/v1/chat/completions \\
  -H 'content-type: application/json' \\
  -d '{"model":"auto","messages":[{"role":"user","content":"Hello!"}]}'`;

export function Requests({ store }) {
  const [which, setWhich] = useState("all");
  const [text, setText] = useState("");
  const [isPaused, setPaused] = useState(false);
  const held = useRef([]);
  if (!isPaused) held.current = store.rows;
  const rows = held.current;
  const found = useMemo(() => rows.filter(PASSES[which]).filter((row) => has(row, text)), [rows, which, text]);
  const missed = isPaused ? store.last - (rows[0]?.number || 0) : 0;
  const tools = html`<${Chips} label="Which requests" options=${WHICH} value=${which} onPick=${setWhich} />
    <input class="search" type="search" aria-label="Find in requests" placeholder="Model, language, id …" value=${text}
      onInput=${(e) => setText(e.target.value)} />
    <button type="button" class="button small" aria-pressed=${String(isPaused)} onClick=${() => setPaused(!isPaused)}>
      <${Icon} name=${isPaused ? "play" : "pause"} size=${14} />${isPaused ? `Go on${missed ? ` (${missed} new)` : ""}` : "Pause"}</button>`;
  return html`<${Card} title="Latest requests" tools=${tools} flush class="requests">
    ${rows.length === 0
      ? html`<${Nothing} isConnecting=${store.link === "connecting"} />`
      : found.length === 0
        ? html`<${Empty} icon="traffic" title="None of the latest ${rows.length} requests matches" />`
        : html`<${Table} rows=${found.slice(0, MOST_SHOWN)} state=${store.state} isPaused=${isPaused} />`}
  <//>`;
}

function has(row, text) {
  if (!text) return true;
  const words = [row.model_id, row.asked_model, row.task, row.language, language(row.language), row.request_id, row.kind,
    row.tenant, row.error, row.experiment].join(" ").toLowerCase();
  return text.toLowerCase().split(/\s+/).every((part) => words.includes(part));
}

function Nothing({ isConnecting }) {
  if (isConnecting) return html`<div class="body stack">${[1, 2, 3].map(() => html`<${Skeleton} height=${28} />`)}</div>`;
  return html`<${Empty} icon="traffic" title="No request yet">
    <p>The first one appears here by itself. Send one from the <a href="#/playground">playground</a>, or:</p>
    <pre>${EXAMPLE}</pre>
  <//>`;
}

function Table({ rows, state, isPaused }) {
  const slowest = Math.max(...rows.map((row) => row.total_s), 0.001);
  return html`<table class="table requests-table" aria-live="off" aria-label="Latest requests">
    <thead><tr><th scope="col">Ended</th><th scope="col">Status</th><th scope="col">What</th><th scope="col">Model</th>
      <th scope="col" class="num">First byte</th><th scope="col">Whole answer</th><th scope="col" class="num">Tokens</th>
      <th scope="col">Notes</th></tr></thead>
    <tbody>${rows.map((row) => html`<${Line} key=${row.number} row=${row} slowest=${slowest} state=${state}
      isFresh=${!isPaused} />`)}</tbody>
  </table>`;
}

function Line({ row, slowest, state, isFresh }) {
  const href = `#/requests/${encodeURIComponent(row.request_id)}`;
  const colour = colourOf(state, row.model_id);
  return html`<tr class=${`opens ${isFresh ? "fresh" : ""}`} onClick=${() => (location.hash = href)}>
    <td class="muted when"><a href=${href} aria-label=${`Story of the request of ${clock(row.at_unix_s + row.total_s)}`}>
      ${clock(row.at_unix_s + row.total_s)}</a></td>
    <td class="how"><${Status} row=${row} /></td>
    <td class="what"><span class="strong">${words(row.task) || words(row.kind)}</span>
      <span class="soft"> ${row.language ? language(row.language) : ""}</span>
      ${row.kind === "chat" ? row.complexity && html` <span class="tag">${row.complexity}</span>` : html` <span class="tag">${row.kind}</span>`}</td>
    <td class="who"><span class="row nowrap"><${Dot} colour=${colour} /><span class="clip">${row.model_id || "none"}</span></span></td>
    <td class="num first soft">${duration(row.first_byte_s)}</td>
    <td class="took"><span class="took-bar"><i style=${{ width: `${(100 * row.total_s) / slowest}%`, background: colour }}></i></span>
      <span>${duration(row.total_s)}</span></td>
    <td class="num tokens soft">${row.completion_tokens || "—"}</td>
    <td class="notes"><${Notes} row=${row} /></td>
  </tr>`;
}

function Notes({ row }) {
  return html`<span class="row">
    ${row.fallback_from && html`<span class="tag" title="Meant to answer">for ${row.fallback_from}</span>`}
    ${row.attempts > 1 && html`<span class="tag">${row.attempts} tries</span>`}
    ${(row.cache === "hit" || row.cache === "semantic") && html`<span class="tag">cache${row.cache === "semantic" ? ", alike" : ""}</span>`}
    ${row.experiment && html`<span class="tag">${row.experiment}</span>`}
    ${row.error && html`<span class="tag error">${words(row.error)}</span>`}
    ${row.stream && html`<span class="tag">stream</span>`}
    ${row.tenant && html`<span class="tag">${row.tenant}</span>`}
  </span>`;
}
