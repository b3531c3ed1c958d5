// Just enough of Markdown for an answer: fenced code, headings, bold, inline code. Elements, never markup as text.
import { html } from "./lib.js";

const INLINE = /(`[^`\n]+`|\*\*[^*\n]+\*\*)/;

function inline(text) {
  return text.split(INLINE).map((part) => {
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return html`<code>${part.slice(1, -1)}</code>`;
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return html`<b>${part.slice(2, -2)}</b>`;
    return part;
  });
}

function prose(text) {
  return text.split("\n").map((line, i) => {
    const heading = /^#{1,6}\s+(.*)$/.exec(line);
    return html`${i ? "\n" : ""}${heading ? html`<b>${inline(heading[1])}</b>` : inline(line)}`;
  });
}

export function Markdown({ text }) {
  return text.split(/^```/m).map((part, i) => {
    if (i % 2 === 0) return prose(i ? part.replace(/^\n/, "") : part.replace(/\n$/, ""));
    const [language, ...lines] = part.split("\n");
    return html`<pre tabindex="0" aria-label=${`Code ${language}`}><code>${lines.join("\n").replace(/\n$/, "")}</code></pre>`;
  });
}
