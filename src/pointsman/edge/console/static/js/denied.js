// What stands where a view would, for whoever may not see it.
import { html, useState } from "./lib.js";
import { keys } from "./api.js";
import { Icon } from "./icons.js";
import { Notice } from "./parts.js";

export function Denied({ refusal }) {
  const [key, setKey] = useState("");
  const name = refusal.message.includes("API key") ? "API key" : "Admin key";
  const enter = (event) => {
    event.preventDefault();
    if (name === "API key") keys.keep("", key.trim());
    else keys.keep(key.trim(), keys.api);
  };
  const canTry = refusal.code === "invalid_api_key";
  return html`<section class="card locked" aria-label="Locked"><div class="body stack">
    <${Icon} name="key" size=${28} />
    <h2>This console is locked</h2>
    <${Notice} tone=${keys.admin || keys.api ? "bad" : ""}>${refusal.message}<//>
    ${canTry && html`<form class="stack" onSubmit=${enter}>
      <label class="field"><span>${name}</span>
        <input type="password" autocomplete="off" value=${key} onInput=${(e) => setKey(e.target.value)} /></label>
      <button type="submit" class="button main" disabled=${!key.trim()}>Unlock</button>
      <p class="tiny muted">Kept in this tab until it is closed. The playground works with an API key alone.</p>
    </form>`}
  </div></section>`;
}
