// One request's whole story: what it is, who should answer and why, what was tried, how it ended.
import { html, useEffect, useState } from "../lib.js";
import { getJson } from "../api.js";
import { bytes, clock, count, duration, language, money, percent, status, words, TONES } from "../format.js";
import { Icon } from "../icons.js";
import { Badge, Card, Copy, Dot, Empty, Facts, Notice, Skeleton } from "../parts.js";
import { colourOf } from "../store.js";
import { Decision } from "./decision.js";
import { Tries } from "./tries.js";

const AGAIN_MS = 700;

export function Story({ id, store }) {
  const [story, setStory] = useState(null);
  const [failure, setFailure] = useState(null);
  useEffect(() => {
    const control = new AbortController();
    let tries = 0;
    const load = async () => {
      try {
        setStory(await getJson(`/console/api/requests/${encodeURIComponent(id)}`, { signal: control.signal }));
        setFailure(null);
      } catch (error) {
        if (control.signal.aborted) return;
        tries += 1;
        if (error.status === 404 && tries < 4) setTimeout(load, AGAIN_MS); // it may be under way still
        else setFailure(error);
      }
    };
    setStory(null);
    load();
    return () => control.abort();
  }, [id]);

  return html`<div class="row nowrap"><a class="button small" href="#/traffic"><${Icon} name="back" size=${14} />All requests</a>
      <span class="mono small soft clip">${id}</span><${Copy} text=${id} label="Copy the request's id" /></div>
    ${failure
      ? html`<section class="card"><${Empty} icon="traffic" title="Nothing is kept of this request">
          <p>${failure.message}. The console keeps the latest 500; older ones come from the outcome store, where one is
            configured.</p><//></section>`
      : story
        ? html`<${Told} story=${story} state=${store.state} />`
        : html`<${Skeleton} height=${120} /><${Skeleton} height=${320} />`}`;
}

function Told({ story, state }) {
  const { record, signals, plan, attempts } = story;
  return html`<${Track} record=${record} state=${state} />
    <div class="grid">
      <${Signals} record=${record} signals=${signals} />
      <${Decision} plan=${plan} record=${record} state=${state} />
      <${Tries} record=${record} attempts=${attempts} state=${state} />
      <${Ending} record=${record} limits=${story.limits} />
    </div>`;
}

// The corridor as a line with stations: where the request has been, and how long each stretch took.
function Track({ record, state }) {
  const isKept = record.cached_model !== "";
  const stations = [
    ["Arrived", clock(record.received_unix_s), words(record.kind)],
    record.task && ["Understood", words(record.task), `${language(record.language)}, ${record.complexity}`],
    isKept
      ? ["Found", "in the cache", record.cache === "semantic" ? "an alike question" : "the same question"]
      : record.strategy && ["Planned", words(record.strategy), record.experiment ? `${record.experiment}: ${record.arm}` : "strategy"],
    !isKept && record.attempts > 0 && ["Tried", `${record.attempts} ${record.attempts === 1 ? "time" : "times"}`,
      record.fallback_from ? `for ${record.fallback_from}` : "first choice"],
    [status(record.status)[0].toUpperCase() + status(record.status).slice(1), record.model_id || record.error || "nobody",
      `HTTP ${record.http_status}`],
  ].filter(Boolean);
  return html`<${Card} label="The way it went" class=${`track ${TONES[record.status]}`}>
    <ol class="stations">${stations.map(
      ([name, what, more], i) => html`<li class=${i === stations.length - 1 ? "end" : ""}>
        <span class="tiny muted">${name}</span><span class="strong clip">${what}</span>
        <span class="tiny soft clip">${more}</span></li>`,
    )}</ol>
    <${Phases} record=${record} state=${state} />
  <//>`;
}

const PHASES = [
  ["understanding", "classify_s", "var(--kind-3)"], ["deciding", "decide_s", "var(--kind-7)"],
  ["waiting for a slot", "wait_s", "var(--ink-3)"], ["the model", "upstream_s", null],
];

function Phases({ record, state }) {
  const known = PHASES.map(([name, key, colour]) => ({
    name, seconds: record[key], colour: colour || colourOf(state, record.model_id),
  })).filter((phase) => phase.seconds > 0);
  const rest = record.total_s - known.reduce((sum, phase) => sum + phase.seconds, 0);
  const all = rest > 0.0001 ? [...known, { name: "all else", seconds: rest, colour: "var(--line-strong)" }] : known;
  return html`<div class="phases" role="img"
      aria-label=${`${duration(record.total_s)}: ${all.map((p) => `${p.name} ${duration(p.seconds)}`).join(", ")}`}>
    ${all.map((phase) => html`<i style=${{ flexGrow: phase.seconds / record.total_s, background: phase.colour }}
      title=${`${phase.name}: ${duration(phase.seconds)}`}></i>`)}</div>
  <div class="legend">${all.map((phase) => html`<span><${Dot} colour=${phase.colour} />${phase.name}
      <b>${duration(phase.seconds)}</b></span>`)}
    <span class="push">${duration(record.total_s)} in all, ${duration(record.overhead_s)} of it the gateway's own work</span></div>`;
}

const QUESTIONS = [
  ["use_case", "What for", words], ["intent", "What kind", words], ["language", "Language", language], ["complexity", "How hard", words],
];

function Signals({ record, signals }) {
  if (!signals) {
    return html`<${Card} class="span-5" title="What it is"><p class="muted">It ended before it was looked at.</p><//>`;
  }
  return html`<${Card} class="span-5 wide-first" title="What it is"
      tools=${html`<${Badge} tone="accent">stage ${signals.stage}<//>`}>
    <div class="stack">
      ${QUESTIONS.map(([key, name, say]) => html`<${Answer} key=${key} name=${name} scored=${signals[key]} say=${say} />`)}
      <${Facts} rows=${[
        ["Goes in", signals.inputs.join(", ")],
        ["Comes out", signals.outputs.join(", ")],
        ["Tokens", `${count(signals.prompt_tokens)} in, about ${count(signals.output_tokens)} out expected`],
        signals.script !== "native" && ["Script", signals.script],
        ["Needs tools", signals.needs_tools ? "yes" : `unlikely (${percent(signals.tool_need, 0)})`],
        ["Novelty", percent(signals.novelty, 0)],
        signals.degraded && ["Second look", `wanted, not had: ${words(signals.degraded)}`],
      ]} />
    </div><//>`;
}

// One question: the label chosen, and how near the others came.
function Answer({ name, scored, say }) {
  const others = scored.alternatives.filter(([, p]) => p >= 0.005).slice(0, 3);
  return html`<div class="answer">
    <span class="small muted">${name}</span>
    <div class="bars">
      ${[[scored.label, scored.p], ...others].map(([label, p], i) => html`<div class=${`bar ${i ? "" : "best"}`}>
        <i style=${{ width: `${p * 100}%` }}></i><span>${say(label)}</span><b>${percent(p, p > 0.995 || p < 0.01 ? 1 : 0)}</b></div>`)}
    </div>
    ${scored.evidence.length > 0 && html`<p class="tiny muted why">${scored.evidence.slice(0, 3).join(" · ")}</p>`}
  </div>`;
}

function Ending({ record, limits }) {
  const saved = record.baseline_cost - record.cost;
  const told = limits ? Object.entries(limits).map(([key, value]) => `${words(key)} ${value}`).join(", ") : "";
  return html`<${Card} class="span-5 wide-first" title="How it ended"
      tools=${html`<${Badge} tone=${TONES[record.status]}>${status(record.status)}<//>`}>
    <div class="stack">
      ${record.error && html`<${Notice} tone="bad">${words(record.error)} (HTTP ${record.http_status})<//>`}
      <${Facts} rows=${[
        ["Asked for", record.asked_model],
        ["Answered by", record.model_id || "nobody"],
        record.fallback_from && ["Instead of", record.fallback_from],
        ["Tokens", `${count(record.prompt_tokens)} in, ${count(record.completion_tokens)} out${record.tokens_estimated ? " (estimated)" : ""}`],
        ["First byte", duration(record.first_byte_s)],
        ["Answer", `${bytes(record.reply_bytes)}${record.stream ? `, ${count(record.events)} events` : ""}`],
        ["Cache", `${words(record.cache)}${record.cached_model ? `, saved ${count(record.saved_prompt_tokens + record.saved_completion_tokens)} tokens` : ""}`],
        (record.cost > 0 || record.baseline_cost > 0) && ["Cost", `${money(record.cost)}${saved > 0 ? `, ${money(saved)} less than the dearest model` : ""}`],
        record.gpu_s > 0 && ["GPU time", duration(record.gpu_s)],
        record.experiment && ["Experiment", `${record.experiment}, arm ${record.arm} (chance ${percent(record.propensity, 0)})`],
        record.tenant && ["Key of", record.tenant],
        told && ["Limits", told],
        record.feedback !== null && ["Feedback", `${percent(record.feedback, 0)} (${record.feedback_source})`],
        ["Prompt", record.prompt ? html`<span class="prompt">${record.prompt}</span>` : "not stored"],
      ]} />
    </div><//>`;
}
