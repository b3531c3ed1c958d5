// What the parts of the playground share: which model, and how a request was routed.
import { html } from "../lib.js";
import { duration, language, percent, words } from "../format.js";
import { Badge, Card, Dot, Empty } from "../parts.js";
import { colourOf } from "../store.js";

// `kind`: only models that serve it; `auto` and the aliases of such models come first.
export function ModelField({ state, kind, value, onPick }) {
  const models = (state?.models || []).filter((one) => !one.kinds.length || one.kinds.includes(kind));
  return html`<label class="field"><span>Model</span>
    <select value=${value} onChange=${(e) => onPick(e.target.value)}>
      ${(models.length ? models : [{ id: "auto", name: "" }]).map((one) => html`<option key=${one.id} value=${one.id}>${
        one.kinds?.length ? `${one.id}${one.alias_of ? ` → ${one.alias_of}` : ""}` : `${one.id}: the router chooses`}</option>`)}
    </select></label>`;
}

export function metadataOf(response) {
  try {
    return JSON.parse(response.headers.get("x-routing-metadata"));
  } catch {
    return null;
  }
}

export function Routed({ metadata, state, children }) {
  if (!metadata) return html`<${Card} title="How it was routed"><${Empty} icon="traffic" title="Not yet"><p>Send it, and the decision appears here.</p><//><//>`;
  return html`<${Card} title="How it was routed" tools=${html`<a class="button small" href=${`#/requests/${encodeURIComponent(metadata.request_id)}`}>Whole story</a>`}>
    <div class="stack tight">
      <div class="row"><${Dot} colour=${colourOf(state, metadata.model_id)} /><span class="strong">${metadata.model_id}</span>
        ${metadata.fallback_used && html`<${Badge} tone="warn">stood in<//>`}
        ${["hit", "semantic"].includes(metadata.cache) && html`<${Badge} tone="info">from cache<//>`}</div>
      <dl class="facts"><dt>Task</dt><dd>${words(metadata.use_case === "agent" ? metadata.intent : metadata.use_case)} (${percent(metadata.confidence, 0)} sure)</dd>
        <dt>Language</dt><dd>${language(metadata.language)}</dd><dt>How hard</dt><dd>${metadata.complexity}</dd>
        <dt>Attempts</dt><dd>${metadata.attempts}</dd><dt>To first byte</dt><dd>${duration(metadata.total_time_seconds)}</dd>
        ${metadata.experiment && html`<dt>Experiment</dt><dd>${metadata.experiment}</dd>`}</dl>
      ${children}
    </div><//>`;
}
