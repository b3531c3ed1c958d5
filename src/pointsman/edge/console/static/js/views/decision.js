// Who should answer: every candidate with what spoke for it, everyone turned away with the reason.
import { html, useMemo, useState } from "../lib.js";
import { words } from "../format.js";
import { Card, Dot, Empty, Notice } from "../parts.js";
import { colourOf, kindOf } from "../store.js";

export function Decision({ plan, record, state, title = "Who should answer", span = "span-7" }) {
  const names = useMemo(() => termNames(plan), [plan]);
  if (!plan) {
    const why = record?.cached_model ? "The answer was kept from before: nobody had to be chosen." : "It ended before a plan was made.";
    return html`<${Card} class=${`${span} wide-first`} title=${title}><${Empty} icon="traffic" title="No plan"><p>${why}</p><//><//>`;
  }
  return html`<${Card} class=${`${span} wide-first`} title=${title}
      tools=${html`<span class="tag">${words(plan.strategy)}</span>`}>
    <div class="stack">
      ${plan.reason && html`<p class="soft">${plan.reason}</p>`}
      ${plan.problem && html`<${Notice} tone="bad">${words(plan.problem)}<//>`}
      <ol class="candidates">${plan.candidates.map(
        (one, i) => html`<${Candidate} key=${one.deployment_id} one=${one} rank=${i + 1} names=${names} state=${state}
          answered=${record?.model_id} />`,
      )}</ol>
      ${names.length > 0 && html`<div class="legend">${names.map((name, i) => html`<span><${Dot} colour=${kindOf(i)} />${words(name)}</span>`)}</div>`}
      ${plan.rejected.length > 0 && html`<${Rejected} rejected=${plan.rejected} />`}
    </div><//>`;
}

const termNames = (plan) => [...new Set((plan?.candidates || []).flatMap((one) => one.terms.map((term) => term.name)))];

function Candidate({ one, rank, names, state, answered }) {
  const [isOpen, open] = useState(false);
  const total = one.terms.reduce((sum, term) => sum + term.weight, 0) || 1;
  const isAnswer = answered === one.model_id;
  return html`<li class="candidate">
    <button type="button" class="candidate-head" aria-expanded=${String(isOpen)} onClick=${() => open(!isOpen)}>
      <span class="rank">${rank}</span>
      <span class="row nowrap name"><${Dot} colour=${colourOf(state, one.model_id)} /><span class="clip strong">${one.deployment_id}</span>
        ${isAnswer && html`<span class="badge ok">answered</span>`}</span>
      <span class="terms" role="img" aria-label=${one.terms.map((t) => `${t.name} ${t.value.toFixed(2)}`).join(", ")}>
        ${one.terms.map((term) => html`<i title=${`${term.name}: ${term.value.toFixed(2)} × ${term.weight}`}
          style=${{ width: `${(100 * term.value * term.weight) / total}%`, background: kindOf(names.indexOf(term.name)) }}></i>`)}</span>
      <b class="score">${one.score.toFixed(3)}</b>
    </button>
    ${isOpen && html`<table class="table term-table"><thead><tr><th scope="col">Term</th><th scope="col" class="num">Value</th>
        <th scope="col" class="num">Weight</th><th scope="col">Why</th></tr></thead>
      <tbody>${one.terms.map((term) => html`<tr><td>${words(term.name)}</td><td class="num">${term.value.toFixed(2)}</td>
        <td class="num soft">${term.weight}</td><td class="soft">${term.why}</td></tr>`)}</tbody></table>`}
  </li>`;
}

function Rejected({ rejected }) {
  return html`<details class="rejected"><summary>${rejected.length} could not, and why</summary>
    <ul>${rejected.map((one) => html`<li><span class="strong">${one.deployment_id}</span>
      <span class="tag">${words(one.code)}</span><span class="soft">${one.why}</span></li>`)}</ul></details>`;
}
