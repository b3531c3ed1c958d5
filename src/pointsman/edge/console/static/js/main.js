// The frame: links, head, the view that the address names. Everything after `#` is ours; the server sees none of it.
import { html, render, useEffect, useRef, useState } from "./lib.js";
import { keys } from "./api.js";
import { Icon, Mark } from "./icons.js";
import { KeyDialog } from "./keys.js";
import { follow } from "./live.js";
import { useStore } from "./store.js";
import { Denied } from "./denied.js";
import { Traffic } from "./views/traffic.js";
import { Story } from "./views/story.js";
import { Fleet } from "./views/fleet.js";
import { Patterns } from "./views/patterns.js";
import { Experiments } from "./views/experiments.js";
import { Playground } from "./views/playground.js";

const VIEWS = [
  ["traffic", "Traffic", Traffic],
  ["fleet", "Fleet", Fleet],
  ["patterns", "Patterns", Patterns],
  ["experiments", "Experiments", Experiments],
  ["playground", "Playground", Playground],
];
const LINKS = { live: "Live", connecting: "Connecting", lost: "Not connected", denied: "Locked" };
const THEMES = ["auto", "light", "dark"];
const THEME = "pointsman.theme";

function useAddress() {
  const read = () => location.hash.replace(/^#\/?/, "") || "traffic";
  const [address, setAddress] = useState(read);
  useEffect(() => {
    const change = () => setAddress(read());
    window.addEventListener("hashchange", change);
    return () => window.removeEventListener("hashchange", change);
  }, []);
  return address;
}

function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  window.dispatchEvent(new Event("theme"));
}

function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem(THEME) || "auto");
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const turn = () => {
    localStorage.setItem(THEME, next);
    setTheme(next);
    applyTheme(next);
  };
  const icon = { auto: "auto", light: "sun", dark: "moon" }[theme];
  return html`<button type="button" class="button icon" aria-label=${`Colours: ${theme}; switch to ${next}`}
    title=${`Colours: ${theme}`} onClick=${turn}><${Icon} name=${icon} /></button>`;
}

function Rail({ current, state }) {
  return html`<nav class="rail" aria-label="Views">
    <a class="brand" href="#/traffic"><${Mark} /><span>Pointsman</span></a>
    <div class="links">
      ${VIEWS.map(
        ([name, title]) => html`<a key=${name} href=${`#/${name}`} aria-current=${name === current ? "page" : undefined}>
          <${Icon} name=${name} />${title}</a>`,
      )}
    </div>
    <div class="rail-foot muted"><a href="/docs">API reference</a><a href="/metrics">Metrics</a>
      <span class="tiny">${state ? `Version ${state.version}` : ""}</span></div>
  </nav>`;
}

function App() {
  const address = useAddress();
  const store = useStore();
  const [asksKeys, setAsksKeys] = useState(false);
  const main = useRef();
  const [name, ...rest] = address.split("/");
  const isStory = name === "requests" && rest.length > 0;
  const current = isStory ? "traffic" : name;
  const [, title, View] = VIEWS.find(([one]) => one === current) || VIEWS[0];
  const heading = isStory ? "One request" : title;

  useEffect(() => {
    document.title = `${heading} · Pointsman`;
    scrollTo(0, 0);
  }, [address]);

  const isLocked = store.link === "denied" && current !== "playground";
  return html`<div class="frame">
    <a class="skip" href=${`#/${address}`} onClick=${(event) => (event.preventDefault(), main.current.focus())}>Skip to
      content</a>
    <${Rail} current=${current} state=${store.state} />
    <div class="stage">
      <header class="head"><h1>${heading}</h1>
        <span class="link-state" role="status" title=${LINKS[store.link]}><i class=${`pulse ${store.link}`}></i>
          <span class="words">${LINKS[store.link]}</span></span>
        <${Theme} />
        <button type="button" class="button icon" aria-label="Keys" title="Keys" onClick=${() => setAsksKeys(true)}>
          <${Icon} name="key" /></button>
      </header>
      <main class="view" ref=${main} tabindex="-1">
        ${isLocked
          ? html`<${Denied} refusal=${store.refusal} />`
          : isStory
            ? html`<${Story} id=${decodeURIComponent(rest.join("/"))} store=${store} />`
            : html`<${View} store=${store} part=${rest[0]} />`}
      </main>
    </div>
    ${asksKeys && html`<${KeyDialog} keys=${keys} onClose=${() => setAsksKeys(false)} />`}
  </div>`;
}

applyTheme(localStorage.getItem(THEME) || "auto");
const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
follow();
