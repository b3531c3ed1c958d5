// Parts that several views share.
import { html, useState } from "./lib.js";
import { Icon } from "./icons.js";
import { TONES, status as statusName } from "./format.js";

export function Card({ title, tools, flush, label, children, class: more = "" }) {
  const name = label || (typeof title === "string" ? title : undefined);
  return html`<section class=${`card ${more}`} aria-label=${name}>
    ${(title || tools) && html`<header><h2>${title}</h2>${tools}</header>`}
    <div class=${flush ? "flush" : "body"}>${children}</div>
  </section>`;
}

export function Badge({ tone = "", children }) {
  return html`<span class=${`badge ${tone}`}>${children}</span>`;
}

export function Status({ row }) {
  if (row.status === "success") return html`<span class="fine"><i></i>${statusName(row.status)}</span>`;
  return html`<${Badge} tone=${TONES[row.status]}>${statusName(row.status)}<//>`;
}

export function Dot({ colour }) {
  return html`<i class="dot" style=${{ background: colour }} aria-hidden="true"></i>`;
}

export function Empty({ icon, title, children }) {
  return html`<div class="empty"><${Icon} name=${icon} size=${30} /><strong>${title}</strong>${children}</div>`;
}

export function Skeleton({ height = 16 }) {
  return html`<div class="skeleton" style=${{ height: `${height}px` }} aria-hidden="true"></div>`;
}

export function Notice({ tone = "", children }) {
  return html`<div class=${`notice ${tone}`} role=${tone === "bad" ? "alert" : "status"}><span>${children}</span></div>`;
}

// One of several, by buttons: `options` are [value, label].
export function Chips({ label, options, value, onPick }) {
  return html`<div class="chips" role="group" aria-label=${label}>
    ${options.map(
      ([one, words]) => html`<button type="button" key=${one} aria-pressed=${String(one === value)}
        onClick=${() => onPick(one)}>${words}</button>`,
    )}
  </div>`;
}

// Shares of a whole as one bar: `shares` are {share, colour, title}.
export function Meter({ shares, tall, label }) {
  return html`<div class=${`meter ${tall ? "tall" : ""}`} role="img" aria-label=${label}>
    ${shares.map(
      ({ share, colour, title }) =>
        html`<i title=${title} style=${{ width: `${Math.min(100, share * 100)}%`, background: colour }}></i>`,
    )}
  </div>`;
}

export function Facts({ rows }) {
  return html`<dl class="facts">
    ${rows.filter(Boolean).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
  </dl>`;
}

export function Copy({ text, label }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1200);
  };
  return html`<button type="button" class="button icon" aria-label=${label} title=${copied ? "copied" : label}
    onClick=${copy}><${Icon} name="copy" size=${15} /></button>`;
}
