// A dry run: the decision alone, with everything it rests on, and what would have changed it.
import { html, useState } from "../lib.js";
import { postJson } from "../api.js";
import { language, percent, words } from "../format.js";
import { Card, Empty, Notice } from "../parts.js";
import { Decision } from "./decision.js";

const QUESTIONS = [["use_case", "What for", words], ["intent", "What kind", words], ["language", "Language", language], ["complexity", "How hard", words]];

export function DryRun({ state }) {
  const [text, setText] = useState("Compare quicksort and mergesort, then write both in Python.");
  const [strategy, setStrategy] = useState("");
  const [found, setFound] = useState(null);
  const [failure, setFailure] = useState("");
  const send = async (event) => {
    event.preventDefault();
    setFailure("");
    try {
      const routing = strategy ? { "x-routing": { strategy } } : {};
      const response = await postJson("/v1/route", { model: "auto", messages: [{ role: "user", content: text }], ...routing });
      setFound(await response.json());
    } catch (error) {
      setFailure(error.message);
    }
  };
  return html`<div class="stack"><${Card} title="Dry run: who would answer?"><form class="stack" onSubmit=${send}>
      <label class="field"><span>Message</span><textarea rows="3" value=${text} onInput=${(e) => setText(e.target.value)}></textarea></label>
      <div class="row"><label class="field"><span>Strategy</span><select value=${strategy} onChange=${(e) => setStrategy(e.target.value)}>
        ${["", "balanced", "quality", "cost", "latency"].map((one) => html`<option value=${one}>${one || "as configured"}</option>`)}</select></label>
        <button type="submit" class="button main push" disabled=${!text.trim()}>Decide</button></div>
      ${failure && html`<${Notice} tone="bad">${failure}<//>`}</form><//>
    ${found ? html`<div class="grid"><${Heard} signals=${found.signals} changes=${found.would_change} />
      <${Decision} plan=${found.plan} state=${state} /></div>`
      : html`<section class="card"><${Empty} icon="playground" title="Nothing is asked of a model"><p>Only the decision is made, as it would be for a real request.</p><//></section>`}</div>`;
}

function Heard({ signals, changes }) {
  return html`<${Card} class="span-5 wide-first" title="What it is"><div class="stack">
    ${QUESTIONS.map(([key, name, say]) => html`<div class="answer"><span class="small muted">${name}</span>
      <div class="bars">${[[signals[key].label, signals[key].p], ...signals[key].alternatives.filter(([, p]) => p >= 0.005).slice(0, 2)].map(([label, p], i) => html`<div class=${`bar ${i ? "" : "best"}`}>
        <i style=${{ width: `${p * 100}%` }}></i><span>${say(label)}</span><b>${percent(p, 0)}</b></div>`)}</div>
      <p class="tiny muted why">${signals[key].evidence.slice(0, 3).join(" · ")}</p></div>`)}
    ${changes.length > 0 && html`<div><h3>What would change it</h3><ul class="changes">${changes.map((one) => html`<li>${one.change}: <b>${one.model_id || "nobody"}</b></li>`)}</ul></div>`}
  </div><//>`;
}
