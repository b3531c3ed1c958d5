// The books: every model's and key's share, speed, verdicts and cost since the start, with intervals, and what routing saved.
import { html, useEffect, useState } from "../lib.js";
import { getJson } from "../api.js";
import { count, duration, money, percent } from "../format.js";
import { Card, Dot, Skeleton } from "../parts.js";
import { colourOf } from "../store.js";

const EVERY_MS = 10_000;

export function Books({ state }) {
  const [books, setBooks] = useState(null);
  useEffect(() => {
    const control = new AbortController();
    const load = () => getJson("/console/api/statistics", { signal: control.signal }).then(setBooks).catch(() => {});
    load();
    const timer = setInterval(load, EVERY_MS);
    return () => {
      control.abort();
      clearInterval(timer);
    };
  }, []);
  if (!books) return html`<div class="span-12"><${Skeleton} height=${200} /></div>`;
  const hasKeys = Object.keys(books.keys).length > 0;
  return html`<${Account} title="Models since the start" name="Model" groups=${books.model_distribution} tools=${html`<${Saved} books=${books} />`}
      dot=${(model) => html`<${Dot} colour=${colourOf(state, model)} />`} />
    ${hasKeys && html`<${Account} title="Keys since the start" name="Key" groups=${books.keys} />`}`;
}

function Account({ title, name, groups, tools, dot }) {
  const rows = Object.entries(groups).filter(([, row]) => row.count).sort((a, b) => b[1].count - a[1].count);
  return html`<${Card} class="span-12" title=${title} tools=${tools} flush>
    <table class="table books" aria-label=${title}><thead><tr><th scope="col">${name}</th><th scope="col" class="num">Requests</th><th scope="col">Answered</th>
      <th scope="col" class="num">Mean time</th><th scope="col">Verdicts</th><th scope="col" class="num">Tokens written</th><th scope="col" class="num">Cost</th></tr></thead>
      <tbody>${rows.map(([label, row]) => html`<tr key=${label}><td><span class="row nowrap">${dot?.(label)}<span class="clip strong">${label}</span></span></td>
        <td class="num">${count(row.count)} <span class="muted">${row.percentage.toFixed(0)} %</span></td>
        <td><${Whisker} value=${row.success_rate} interval=${row.success_rate_interval} /></td>
        <td class="num">${duration(row.avg_latency_ms ? row.avg_latency_ms / 1000 : null)} <span class="muted tiny">${plusMinus(row)}</span></td>
        <td>${row.verdicts ? html`<${Whisker} value=${row.feedback} interval=${row.feedback_interval} note=${`of ${row.verdicts}`} />` : html`<span class="muted">none</span>`}</td>
        <td class="num">${count(row.completion_tokens)}</td><td class="num">${money(row.cost)}</td></tr>`)}</tbody></table><//>`;
}

function Saved({ books }) {
  if (!books.cost.baseline) return null;
  return html`<span class="small soft">Cost ${money(books.cost.total)} instead of ${money(books.cost.baseline)} with ${books.baseline_model} alone:
    <b> ${percent(books.cost.savings / books.cost.baseline, 0)} saved</b></span>`;
}

function plusMinus(row) {
  if (!row.avg_latency_interval_ms) return "";
  const [low, high] = row.avg_latency_interval_ms;
  return `± ${duration((high - low) / 2000)}`;
}

// A share with its interval, drawn on 0 to 1.
function Whisker({ value, interval, note }) {
  if (value === null) return html`<span class="muted">none</span>`;
  const [low, high] = interval || [value, value];
  return html`<span class="whisker-row"><span class="whisker" role="img" aria-label=${`between ${percent(low)} and ${percent(high)}`}>
    <i style=${{ left: `${low * 100}%`, width: `${(high - low) * 100}%` }}></i><b style=${{ left: `${value * 100}%` }}></b></span>
    ${percent(value)} ${note && html`<span class="muted tiny">${note}</span>`}</span>`;
}
