// What was tried: a bar for each attempt on the request's own time.
import { html } from "../lib.js";
import { duration, words } from "../format.js";
import { Card, Dot, Empty } from "../parts.js";
import { colourOf } from "../store.js";

export function Tries({ record, attempts, state }) {
  return html`<${Card} class="span-7 wide-first" title="What was tried">
    ${!attempts || attempts.length === 0
      ? html`<${Empty} icon="traffic" title="No model was asked"><p>${record.cached_model
          ? "The answer came from the cache." : `It ended before: ${words(record.error) || "nobody could take it"}.`}</p><//>`
      : html`<div class="tries">${attempts.map(
          (one, i) => html`<${Try} key=${i} one=${one} until=${attempts[i + 1]?.started_s ?? record.total_s}
            total=${record.total_s} state=${state} end=${i < attempts.length - 1 ? "given up" : record.status === "success" ? "answered" : "was answering"} />`)}
        <div class="scale tiny muted"><span>0</span><span>${duration(record.total_s / 2)}</span><span>${duration(record.total_s)}</span></div>
      </div>`}
  <//>`;
}

function Try({ one, until, total, state, end: how }) {
  const at = (seconds) => `${(100 * Math.max(0, Math.min(seconds, total))) / total}%`;
  const colour = one.error ? "var(--bad)" : colourOf(state, one.model_id);
  const end = Math.max(until, one.started_s + one.wait_s);
  const first = one.first_byte_s ?? end;
  const said = [
    one.wait_s > 0.0005 && `waited ${duration(one.wait_s)}`,
    one.first_byte_s !== null && `first byte after ${duration(one.first_byte_s - one.started_s - one.wait_s)}`,
    one.is_hedge && "a hedge", one.raced && `raced ${one.raced}`,
  ].filter(Boolean);
  return html`<div class="try">
    <div class="row"><${Dot} colour=${colour} /><span class="strong">${one.deployment_id}</span>
      <span class=${`badge ${one.error ? "bad" : "ok"}`}>${one.error ? words(one.error) : how}</span>
      <span class="small soft">${said.join(", ")}</span></div>
    <div class="lane" role="img" aria-label=${`from ${duration(one.started_s)} to ${duration(end)}`}>
      ${one.wait_s > 0 && html`<i class="waited" style=${{ left: at(one.started_s), width: at(one.wait_s) }} title=${`waiting ${duration(one.wait_s)}`}></i>`}
      <i style=${{ left: at(one.started_s + one.wait_s), width: at(Math.max(first - one.started_s - one.wait_s, total / 250)), background: colour, opacity: 0.45 }}
        title="until the first byte"></i>
      <i style=${{ left: at(first), width: at(end - first), background: colour }} title="the answer"></i>
    </div>
    ${one.detail && html`<p class="tiny muted">${one.detail}</p>`}
  </div>`;
}
