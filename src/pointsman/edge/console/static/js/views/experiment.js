// One experiment: how it stands, its confidence sequence, its arms, what was decided, and what an operator can do.
import { html, useState } from "../lib.js";
import { postJson } from "../api.js";
import { Plot, Legend } from "../charts.js";
import { clock, count, percent, words } from "../format.js";
import { Badge, Card, Dot, Empty, Notice } from "../parts.js";
import { colourOf } from "../store.js";

const TONES = { collecting: "info", review: "warn", passed: "ok", better: "ok", rolled_back: "bad" };
const SAYS = {
  collecting: "Nothing is proved yet.", review: "Some loss is proved, or the question stays open: a person decides.",
  passed: "A loss that matters is ruled out.", better: "Any loss is ruled out.", rolled_back: "The treatment gets nothing until an operator says otherwise.",
};

export function Experiment({ one, state, again }) {
  const tools = html`<span class="tag">${words(one.kind)}</span>
    ${one.is_paused && html`<${Badge} tone="warn">paused<//>`}<${Badge} tone=${TONES[one.status]}>${words(one.status)}<//>`;
  return html`<section class="stack" aria-label=${`Experiment ${one.name}`}>
    <${Card} title=${one.name} tools=${tools}><div class="stack">
      <p class="soft">${SAYS[one.status]} ${one.status !== "collecting" && one.why ? `It rests on ${words(one.why)}.` : ""}</p>
      <${Share} one=${one} state=${state} />
    </div><//>
    <div class="grid">
      <${Card} class="span-7 wide-first" title="Loss of quality, with its confidence sequence"><${Sequence} one=${one} /><//>
      <${Card} class="span-5 wide-first" title="The arms" flush><${Arms} one=${one} state=${state} /><//>
      <${Card} class="span-7 wide-first" title="What was decided" flush><${Changes} changes=${one.changes} /><//>
      <${Card} class="span-5 wide-first" title="Change it"><${Orders} key=${one.ratio} one=${one} again=${again} /><//>
    </div></section>`;
}

// How the traffic is split, and where in its rollout it is.
function Share({ one, state }) {
  const colour = colourOf(state, one.treatment);
  return html`<div class="stack tight">
    <div class="row small"><${Dot} colour=${colour} /><span class="strong">${one.treatment}</span><span class="muted">on trial</span><b>${percent(one.ratio, 0)}</b>
      <span class="push row"><b>${percent(1 - one.ratio, 0)}</b><span class="muted">as before</span><span class="strong">${one.control}</span><${Dot} colour=${colourOf(state, one.control)} /></span></div>
    <div class="meter tall" role="img" aria-label=${`${percent(one.ratio, 0)} to ${one.treatment}`}>
      <i style=${{ width: `${one.ratio * 100}%`, background: colour }}></i><i style=${{ width: `${(1 - one.ratio) * 100}%`, background: colourOf(state, one.control), opacity: 0.45 }}></i></div>
    ${one.rollout.length > 0 && html`<ol class="steps" aria-label="Rollout">${one.rollout.map((share, i) => html`<li
      class=${i < one.step ? "past" : i === one.step ? (one.status === "rolled_back" ? "stopped" : "now") : ""} aria-current=${i === one.step ? "step" : undefined}>${percent(share, 0)}</li>`)}</ol>`}
  </div>`;
}

const LINES = [
  { name: "estimate", colour: "var(--kind-3)" }, { name: "all of it holds at once", colour: "var(--kind-4)" },
  { name: "passes below", colour: "var(--ok)" }, { name: "rolled back above", colour: "var(--bad)" },
];

function Sequence({ one }) {
  const points = one.history;
  if (points.length < 2) {
    return html`<${Empty} icon="experiments" title="Too few verdicts yet"><p>${one.evidence.control_verdicts + one.evidence.treatment_verdicts} so far.
      Callers give them by POST /v1/feedback.</p><//>`;
  }
  const at = points.map((point) => point.verdicts);
  const clip = (value) => Math.max(-0.6, Math.min(0.6, value));
  const flat = (value) => at.map(() => value);
  const lines = [
    { label: "high", colour: LINES[1].colour, style: "line", values: points.map((p) => clip(p.high)), bandTo: 1, bandFill: "rgba(2,132,199,0.16)" },
    { label: "low", colour: LINES[1].colour, style: "line", values: points.map((p) => clip(p.low)) },
    { label: "loss", colour: LINES[0].colour, style: "line", values: points.map((p) => clip(p.loss)) },
    { label: "pass", colour: LINES[2].colour, style: "dash", values: flat(one.pass_below) },
    { label: "rollback", colour: LINES[3].colour, style: "dash", values: flat(one.rollback_above) },
  ];
  const last = points[points.length - 1];
  const ends = points.slice(Math.floor(points.length / 4));
  const reach = Math.min(0.6, Math.max(one.rollback_above * 1.5, ...ends.map((p) => Math.max(Math.abs(p.low), Math.abs(p.high)))));
  const tip = (i) => [
    { ...LINES[0], value: percent(points[i].loss) }, { name: "at least", colour: LINES[1].colour, value: percent(points[i].low) },
    { name: "at most", colour: LINES[1].colour, value: percent(points[i].high) },
  ];
  return html`<${Plot} at=${at} lines=${lines} height=${240} time=${false} format=${(v) => percent(v, 0)} range=${() => [-reach, reach]} tip=${tip}
      label=${`After ${last.verdicts} verdicts a loss between ${percent(last.low)} and ${percent(last.high)}, most likely ${percent(last.loss)}`} />
    <${Legend} parts=${LINES} /><p class="tiny muted explains">By verdicts of callers. The interval is valid however often one looks: over all of them it misses the
      truth in at most ${percent(one.alpha, 0)} of experiments.</p>`;
}

function Arms({ one, state }) {
  const { evidence: e } = one;
  const row = (name, a, b) => html`<tr><th scope="row">${name}</th><td class="num">${a}</td><td class="num">${b}</td></tr>`;
  const estimate = (name, found, say) => found && html`<tr><th scope="row">${name}</th><td class="num" colspan="2">${say(found.value)}
    <span class="muted"> (${say(found.low)} to ${say(found.high)})</span></td></tr>`;
  const times = (value) => `${value.toFixed(2)}×`;
  const head = (model, arm) => html`<th scope="col" class="num"><span class="row end"><${Dot} colour=${colourOf(state, model)} />${arm}</span></th>`;
  return html`<table class="table arms"><thead><tr><th scope="col"></th>${head(one.control, "control")}${head(one.treatment, "treatment")}</tr></thead><tbody>
    ${row("Model", one.control, one.treatment)}
    ${row("Requests", count(e.control_requests), count(e.treatment_requests))}
    ${row("Verdicts", count(e.control_verdicts), count(e.treatment_verdicts))}
    ${row("Quality", percent(e.control_quality), percent(e.treatment_quality))}
    ${estimate("Loss", e.loss, percent)}${estimate("More errors", e.errors, percent)}
    ${estimate("Takes as long", e.latency, times)}${estimate("Costs as much", e.cost, times)}
  </tbody></table>`;
}

function Changes({ changes }) {
  return html`<ol class="events">${[...changes].reverse().map((change) => html`<li>
    <time class="tiny muted">${clock(change.at_unix_s)}</time><i class=${`mark ${TONES[change.event] || ""}`}></i>
    <span><b>${words(change.event)}</b> by ${change.by}: ${percent(change.ratio_before, 0)} → ${percent(change.ratio, 0)}<br /><span class="soft">${change.why}</span></span></li>`)}</ol>`;
}

function Orders({ one, again }) {
  const [ratio, setRatio] = useState(Math.round(one.ratio * 100));
  const [said, say] = useState(null);
  const order = async (body) => {
    try {
      const change = await (await postJson(`/v1/experiments/${encodeURIComponent(one.name)}`, body)).json();
      say({ tone: "ok", text: `${words(change.event)}: ${percent(change.ratio, 0)} from the next request on` });
      again();
    } catch (error) {
      say({ tone: "bad", text: error.message });
    }
  };
  return html`<div class="stack">
    <label class="field"><span>Share of ${one.treatment}: <b>${ratio} %</b></span>
      <input type="range" min="0" max="100" value=${ratio} onInput=${(e) => setRatio(Number(e.target.value))} /></label>
    <p class="tiny muted">Another share is another question: the evidence begins anew.</p>
    <div class="row"><button type="button" class="button main" disabled=${ratio === Math.round(one.ratio * 100)} onClick=${() => order({ ratio: ratio / 100 })}>Set share</button>
      <button type="button" class="button" onClick=${() => order({ action: one.is_paused ? "resume" : "pause" })}>${one.is_paused ? "Resume" : "Pause"}</button>
      <button type="button" class="button" disabled=${one.status === "rolled_back"} onClick=${() => order({ action: "rollback" })}>Roll back</button></div>
    ${said && html`<${Notice} tone=${said.tone}>${said.text}<//>`}</div>`;
}
