// What is asked, in which language, and how it went: the last hour by task, language and model.
import { html, useMemo, useState } from "../lib.js";
import { Stacked } from "../charts.js";
import { count, percent } from "../format.js";
import { Card, Chips, Dot, Empty, Skeleton } from "../parts.js";
import { crossed, partsOf, timeline, useSeries } from "../series.js";
import { Books } from "./money.js";
import { colourFor, nameFor, since } from "./traffic.js";

const LONG_S = 1800;
const SPANS = [[5, "5 min"], [15, "15 min"], [60, "1 h"]];
const PAIRS = [
  ["language/task", "Language × task"], ["language/model", "Language × model"], ["task/model", "Task × model"],
  ["model/status", "Model × status"],
];

export function Patterns({ store }) {
  const series = useSeries();
  const [minutes, setMinutes] = useState(store.now - since(store.state) > LONG_S ? 60 : 15);
  const [pair, setPair] = useState("language/task");
  if (!series) return html`<${Skeleton} height=${260} /><${Skeleton} height=${260} />`;
  if (!series.buckets.length) {
    return html`<section class="card"><${Empty} icon="patterns" title="No request in the last hour">
      <p>Languages and tasks appear here as requests come in.</p><//></section>`;
  }
  const spans = html`<${Chips} label="Span" options=${SPANS} value=${minutes} onPick=${setMinutes} />`;
  return html`<div class="grid">
    ${[["language", "Languages"], ["task", "Tasks"]].map(
      ([by, title]) => html`<${Card} key=${by} class="span-6 wide-first" title=${title} tools=${spans}>
        <${Over} series=${series} by=${by} minutes=${minutes} state=${store.state} /><//>`,
    )}
    <${Card} class="span-8 wide-first" title="What meets what" tools=${html`
      <${Chips} label="What is crossed" options=${PAIRS} value=${pair} onPick=${setPair} />`}>
      <${Crossed} series=${series} pair=${pair} /><//>
    <${Card} class="span-4 wide-first" title="Who answers"><${Ranking} series=${series} by="model" state=${store.state} /><//>
    <${Books} state=${store.state} />
  </div>`;
}

function Over({ series, by, minutes, state }) {
  const line = useMemo(() => timeline(series, by, minutes, since(state)), [series, by, minutes, state]);
  const stack = useMemo(() => partsOf(line, nameFor(by), colourFor(by, state)), [line, state]);
  return html`<${Stacked} at=${line.at} parts=${stack} height=${200} xRange=${line.range}
    format=${(n) => (n < 1 && n > 0 ? "" : count(n))} label=${`Requests by ${by} over ${minutes} minutes`} />`;
}

const totalOf = (row) => [...row.values()].reduce((sum, n) => sum + n, 0);

function Crossed({ series, pair }) {
  const [one, other] = pair.split("/");
  const table = useMemo(() => crossed(series, one, other), [series, pair]);
  const rows = [...table].sort((a, b) => totalOf(b[1]) - totalOf(a[1])).slice(0, 14);
  const columnSums = new Map();
  for (const [, row] of rows) for (const [label, n] of row) columnSums.set(label, (columnSums.get(label) || 0) + n);
  const columns = [...columnSums].sort((a, b) => b[1] - a[1]).map(([label]) => label).slice(0, 8);
  const most = Math.max(...rows.flatMap(([, row]) => columns.map((label) => row.get(label) || 0)), 1);
  const [sayRow, sayColumn] = [nameFor(one), nameFor(other)];
  return html`<div class="scroll"><table class="heat" aria-label=${`Requests by ${one} and ${other}, the last hour`}>
    <thead><tr><th scope="col"><span class="hidden-text">${one}</span></th>${columns.map((label) => html`<th scope="col" class="num"><span class="clip">${sayColumn(label)}</span></th>`)}
      <th scope="col" class="num">All</th></tr></thead>
    <tbody>${rows.map(([label, row]) => html`<tr><th scope="row"><span class="clip">${sayRow(label)}</span></th>
      ${columns.map((column) => html`<${Cell} n=${row.get(column) || 0} most=${most} />`)}
      <td class="num strong">${count(totalOf(row))}</td></tr>`)}</tbody></table></div>`;
}

function Cell({ n, most }) {
  const share = Math.round(6 + 39 * Math.sqrt(n / most));
  const style = n ? { background: `color-mix(in srgb, var(--accent) ${share}%, transparent)` } : {};
  return html`<td class="num cell" style=${style}>${n ? count(n) : html`<span class="muted">·</span>`}</td>`;
}

function Ranking({ series, by, state }) {
  const table = useMemo(() => crossed(series, by, "status"), [series, by]);
  const rows = [...table].sort((a, b) => totalOf(b[1]) - totalOf(a[1])).slice(0, 10);
  const all = rows.reduce((sum, [, row]) => sum + totalOf(row), 0);
  const colour = colourFor(by, state);
  return html`<ol class="ranking">${rows.map(([label, row], i) => {
    const total = totalOf(row);
    return html`<li><span class="row nowrap"><${Dot} colour=${colour(label, i)} /><span class="clip">${nameFor(by)(label)}</span>
        <b class="push">${percent(total / all, 0)}</b></span>
      <span class="meter"><i style=${{ width: `${(100 * total) / all}%`, background: colour(label, i) }}></i></span>
      <span class="tiny muted">${count(total)} requests, ${percent((row.get("success") || 0) / total)} answered</span></li>`;
  })}</ol>`;
}

