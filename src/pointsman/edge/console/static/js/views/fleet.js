// The fleet: memory, every deployment with what can be done to it, what happened when.
import { html, useEffect, useMemo, useState } from "../lib.js";
import { getJson, postJson } from "../api.js";
import { bytes, clock, percent, span, words } from "../format.js";
import { Badge, Card, Dot, Empty, Meter, Notice, Skeleton } from "../parts.js";
import { colourOf } from "../store.js";
import { Legend } from "../charts.js";
import { Timeline } from "./timeline.js";

const TIER_TONES = { hot: "ok", warm: "info", cold: "" };
const LEVELS = { error: "bad", warning: "warn", info: "", debug: "" };

export function Fleet({ store }) {
  const { fleet, state } = store;
  const [rows, setRows] = useState({});
  const [said, say] = useState(null);
  useEffect(() => {
    const control = new AbortController();
    getJson("/models", { signal: control.signal })
      .then(({ data }) => setRows(Object.fromEntries(data.map((row) => [row.id, row]))))
      .catch(() => {});
    return () => control.abort();
  }, []);

  const act = async (one, action, path = action, body = undefined) => {
    say({ text: `${words(action)} ${one.id} …` });
    try {
      const answer = await postJson(`/models/${encodeURIComponent(one.id)}/${path}`, body);
      const { done } = await answer.json();
      say({ tone: "ok", text: `${action} ${one.id}: ${done ? "done" : "under way, it goes on"}` });
    } catch (error) {
      say({ tone: "bad", text: `${action} ${one.id}: ${error.message}` });
    }
  };
  if (!fleet) return html`<${Skeleton} height=${110} /><${Skeleton} height=${300} />`;
  return html`${said && html`<${Notice} tone=${said.tone}>${said.text}<//>`}
    <${Memory} fleet=${fleet} state=${state} />
    <${Card} title="Deployments" flush>
      <table class="table fleet-table" aria-label="Deployments">
        <thead><tr><th scope="col">Deployment</th><th scope="col">State</th><th scope="col">In use</th><th scope="col" class="num">Memory</th>
          <th scope="col">Idle</th><th scope="col">Health</th><th scope="col"><span class="hidden-text">Actions</span></th></tr></thead>
        <tbody>${fleet.deployments.map((one) => html`<${Deployment} key=${one.id} one=${one} row=${rows[one.id]} state=${state} act=${act} />`)}</tbody>
      </table><//>
    <div class="grid">
      <${Card} class="span-7 wide-first" title="Timeline"><${Timeline} fleet=${fleet} events=${store.events} now=${store.now} since=${state?.statistics.since_unix_s || 0} /><//>
      <${Card} class="span-5 wide-first" title="Events" flush><${Events} events=${store.events} /><//>
    </div>`;
}

function Memory({ fleet, state }) {
  const holders = fleet.deployments.filter((one) => one.memory.held_bytes > 0);
  const budget = fleet.budget_bytes || fleet.used_bytes || 1;
  const parts = holders.map((one) => ({
    name: `${one.id} ${bytes(one.memory.held_bytes)}`, colour: colourOf(state, one.model_id), share: one.memory.held_bytes / budget,
    title: `${one.id}: ${bytes(one.memory.held_bytes)}`,
  }));
  const gpus = fleet.gpus.map((gpu) => ({
    ...gpu,
    shares: fleet.deployments.flatMap((one) => one.memory.gpus.filter((held) => held.index === gpu.index && one.tier === "hot").map((held) => ({
      share: held.reserved_bytes / gpu.budget_bytes, colour: colourOf(state, one.model_id), title: `${one.id}: ${bytes(held.reserved_bytes)}`,
    }))),
  }));
  return html`<${Card} title="Memory">
    <div class="stack">
      <${Bar} name="Host" used=${fleet.used_bytes} budget=${fleet.budget_bytes} shares=${parts} />
      ${gpus.map((gpu) => html`<${Bar} name=${`GPU ${gpu.index}`} used=${gpu.used_bytes} budget=${gpu.budget_bytes} shares=${gpu.shares} />`)}
      ${parts.length ? html`<${Legend} parts=${parts} />` : html`<p class="tiny muted">Nothing of ours is loaded here${
        fleet.deployments.some((one) => one.is_managed) ? "" : ": every model runs elsewhere"}.</p>`}
    </div><//>`;
}

function Bar({ name, used, budget, shares }) {
  return html`<div class="memory">
    <div class="row"><span class="strong">${name}</span><span class="soft small">${bytes(used)} of ${bytes(budget)}</span>
      <span class="push small muted">${budget ? `${percent((budget - used) / budget, 0)} free` : ""}</span></div>
    <${Meter} tall shares=${shares} label=${`${name}: ${bytes(used)} of ${bytes(budget)} in use`} /></div>`;
}

function Deployment({ one, row, state, act }) {
  const isBusy = ["loading", "starting", "waking", "stopping", "draining", "falling_asleep"].includes(one.state) || one.leaving;
  const memory = one.memory.held_bytes || one.memory.reserved_bytes;
  return html`<tr>
    <td class="who"><span class="row nowrap"><${Dot} colour=${colourOf(state, one.model_id)} /><span class="clip strong">${one.id}</span></span>
      <span class="tiny muted">${[row?.backend, one.variant, one.is_managed ? "" : "runs elsewhere", one.pin && "pinned",
        one.ttl_s && `leaves after ${span(one.ttl_s)}`].filter(Boolean).join(" · ")}</span></td>
    <td class="tier"><${Badge} tone=${one.state === "failed" ? "bad" : isBusy ? "warn" : TIER_TONES[one.tier]}>${words(one.state)}<//>
      <span class="tiny muted"> ${one.tier === "cold" && one.load_s === null ? "" : span(one.age_s)}</span></td>
    <td class="use"><${Slots} one=${one} /></td>
    <td class="num size">${memory ? bytes(memory) : "—"}${memory && !one.memory.held_bytes ? html`<span class="tiny muted"> when loaded</span>` : ""}</td>
    <td class="idle soft">${one.idle_s === null ? "—" : span(one.idle_s)}</td>
    <td class="health"><${Health} one=${one} /></td>
    <td class="acts"><${Actions} one=${one} isBusy=${isBusy} act=${act} /></td>
  </tr>`;
}

function Slots({ one }) {
  const slots = Math.min(one.slots, 16);
  const busy = Math.round((Math.min(one.in_flight, one.slots) / Math.max(one.slots, 1)) * slots);
  return html`<span class="slots" role="img" aria-label=${`${one.in_flight} of ${one.slots} slots in use, ${one.queued} waiting`}>
    ${Array.from({ length: slots }, (_, i) => html`<i class=${i < busy ? "busy" : ""}></i>`)}</span>
    <span class="tiny muted">${one.in_flight}/${one.slots}${one.queued ? `, ${one.queued} waiting` : ""}</span>`;
}

function Health({ one }) {
  if (one.breaker !== "closed") {
    const why = [one.breaker_why, one.retry_in_s && `tried again in ${span(one.retry_in_s)}`].filter(Boolean).join("; ");
    return html`<span title=${why}><${Badge} tone=${one.breaker === "half_open" ? "warn" : "bad"}>breaker ${words(one.breaker)}<//></span>`;
  }
  if (one.last_error) return html`<span class="tag error clip" title=${one.last_error}>${one.last_error}</span>`;
  return html`<span class="small soft">${one.restarts ? `${one.restarts} restarts` : "well"}</span>`;
}

function Actions({ one, isBusy, act }) {
  const force = (title, state) => html`<button type="button" class="button small" aria-label=${`${title} ${one.id}`}
    onClick=${() => act(one, title, "breaker", { state })}>${title[0].toUpperCase() + title.slice(1)}</button>`;
  if (one.breaker.startsWith("forced")) return html`<span class="row nowrap end">${force("put back", "auto")}</span>`;
  if (!one.is_managed) return html`<span class="row nowrap end">${force("take out", "forced_open")}</span>`;
  const able = one.tier === "cold" ? ["load"] : one.tier === "warm" ? ["wake", "unload"]
    : one.memory.asleep_bytes ? ["sleep", "unload"] : ["unload"];
  return html`<span class="row nowrap end">${able.map((action) => html`<button type="button" key=${action} class="button small" disabled=${isBusy}
    aria-label=${`${action} ${one.id}`} onClick=${() => act(one, action)}>${action[0].toUpperCase() + action.slice(1)}</button>`)}</span>`;
}

function Events({ events }) {
  const shown = useMemo(() => events.slice(0, 60), [events]);
  if (!shown.length) return html`<${Empty} icon="fleet" title="Nothing happened yet"><p>Loads, evictions, crashes and changes appear here.</p><//>`;
  return html`<ul class="events">${shown.map((event) => html`<li key=${event.number}>
    <time class="tiny muted">${clock(event.at)}</time><i class=${`mark ${LEVELS[event.level || "info"]}`}></i><span>${event.message}</span></li>`)}</ul>`;
}

