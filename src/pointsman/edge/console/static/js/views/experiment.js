// One experiment.
import { html } from "../lib.js";
import { Card } from "../parts.js";

export function Experiment({ one }) {
  return html`<${Card} title=${one.name}><pre class="tiny">${JSON.stringify(one, null, 1)}</pre><//>`;
}
