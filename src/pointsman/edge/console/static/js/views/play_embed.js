// Embeddings: how near sentences are to each other.
import { html, useState } from "../lib.js";
import { postJson } from "../api.js";
import { Card, Notice } from "../parts.js";
import { metadataOf, ModelField, Routed } from "./play_parts.js";

const FIRST = "Where is the station?\nHow do I get to the train?\nस्टेशन कहाँ है?\nI would like some tea.";
const MOST = 12;

const norm = (a) => Math.sqrt(a.reduce((sum, x) => sum + x * x, 0)) || 1;
const cosine = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0) / (norm(a) * norm(b));

export function Embeddings({ state }) {
  const [model, setModel] = useState("auto");
  const [text, setText] = useState(FIRST);
  const [found, setFound] = useState(null);
  const [metadata, setMetadata] = useState(null);
  const [failure, setFailure] = useState("");

  const send = async (event) => {
    event.preventDefault();
    setFailure("");
    const input = text.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, MOST);
    try {
      const response = await postJson("/v1/embeddings", { model, input });
      setMetadata(metadataOf(response));
      const { data } = await response.json();
      setFound({ input, vectors: data.map((one) => one.embedding) });
    } catch (error) {
      setFailure(error.message);
    }
  };
  return html`<div class="grid"><div class="span-8 wide-first"><${Card} title="Embeddings"><form class="stack" onSubmit=${send}>
      <label class="field"><span>Sentences, one a line (${MOST} at most)</span><textarea rows="5" value=${text} onInput=${(e) => setText(e.target.value)}></textarea></label>
      <${ModelField} state=${state} kind="embedding" value=${model} onPick=${setModel} />
      <div><button type="submit" class="button main" disabled=${!text.trim()}>Compare</button></div>
      ${failure && html`<${Notice} tone="bad">${failure}<//>`}
      ${found && html`<${Nearness} found=${found} />`}</form><//></div>
    <div class="span-4 wide-first"><${Routed} metadata=${metadata} state=${state} /></div></div>`;
}

function Nearness({ found }) {
  const { input, vectors } = found;
  return html`<div class="scroll"><table class="heat" aria-label="Cosine similarity of every pair">
    <thead><tr><th scope="col"><span class="hidden-text">sentence</span></th>${input.map((_, i) => html`<th scope="col" class="num">${i + 1}</th>`)}</tr></thead>
    <tbody>${vectors.map((a, i) => html`<tr><th scope="row"><span class="clip">${i + 1}. ${input[i]}</span></th>${vectors.map((b) => {
      const near = cosine(a, b);
      const share = Math.round(Math.max(0, near) * 45);
      return html`<td class="num cell" style=${{ background: `color-mix(in srgb, var(--accent) ${share}%, transparent)` }}>${near.toFixed(2)}</td>`;
    })}</tr>`)}</tbody></table></div>
    <p class="tiny muted">${vectors[0].length} dimensions each</p>`;
}
