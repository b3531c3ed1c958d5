// The playground: one request of each kind, as any client would send it, with how it was routed beside the answer.
import { html, useEffect } from "../lib.js";
import { Chat } from "./play_chat.js";
import { Speech, Transcription } from "./play_audio.js";
import { Embeddings } from "./play_embed.js";
import { DryRun } from "./play_route.js";

const TABS = [
  ["chat", "Chat", Chat], ["transcription", "Speech to text", Transcription], ["speech", "Text to speech", Speech],
  ["embeddings", "Embeddings", Embeddings], ["route", "Dry run", DryRun],
];

export function Playground({ store, part }) {
  const tab = TABS.some(([name]) => name === part) ? part : "chat";
  const setTab = (name) => (location.hash = `#/playground/${name}`);
  useEffect(() => document.getElementById(`tab-${tab}`).scrollIntoView({ block: "nearest", inline: "nearest" }), [tab]);
  const turn = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = TABS.findIndex(([name]) => name === tab);
    const [next] = TABS[(at + step + TABS.length) % TABS.length];
    setTab(next);
    document.getElementById(`tab-${next}`).focus();
  };
  return html`<div class="chips tabs" role="tablist" aria-label="Kinds of request" onKeyDown=${turn}>
      ${TABS.map(([name, title]) => html`<button type="button" role="tab" key=${name} id=${`tab-${name}`} aria-controls="tab-panel"
        aria-selected=${String(name === tab)} tabindex=${name === tab ? 0 : -1} onClick=${() => setTab(name)}>${title}</button>`)}
    </div>
    <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
      ${TABS.map(([name, , View]) => html`<div key=${name} hidden=${name !== tab}><${View} state=${store.state} /></div>`)}
    </div>`;
}
