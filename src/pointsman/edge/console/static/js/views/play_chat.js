// Chat, streamed, with a picture, a recording or a video beside the words.
import { html, useEffect, useRef, useState } from "../lib.js";
import { eventsOf, postJson } from "../api.js";
import { count, duration } from "../format.js";
import { Icon } from "../icons.js";
import { Markdown } from "../markdown.js";
import { Card, Notice } from "../parts.js";
import { metadataOf, ModelField, Routed } from "./play_parts.js";

const IDEAS = ["Explain what a railway pointsman does.", "Write a Python function that checks a palindrome.", "भारत की राजधानी क्या है?",
  "தமிழில் ஒரு சிறு கவிதை எழுது.", "A bat and a ball cost 1.10 together; the bat costs 1.00 more. What does the ball cost?"];

function dataUrl(file) {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => fail(reader.error);
    reader.readAsDataURL(file);
  });
}

// What is sent for the words and the file, whose contents are in `url`.
function contentOf(text, file, url) {
  if (!file) return text;
  return [...(text ? [{ type: "text", text }] : []), partOf(file, url)];
}

function partOf(file, url) {
  const kind = file.type.split("/")[0];
  if (kind === "audio") return { type: "input_audio", input_audio: { data: url.split(",")[1], format: file.name.split(".").pop().toLowerCase() } };
  return kind === "video" ? { type: "video_url", video_url: { url } } : { type: "image_url", image_url: { url } };
}

// Sends the turns, calls `grow` with each piece of the answer; the time to the first one, tokens, routing.
async function stream(body, signal, grow, routed) {
  const began = performance.now();
  const response = await postJson("/v1/chat/completions", { ...body, stream: true, stream_options: { include_usage: true } }, { signal });
  routed(metadataOf(response));
  let first = null;
  let tokens = 0;
  for await (const data of eventsOf(response)) {
    if (data === "[DONE]") break;
    const event = JSON.parse(data);
    if (event.error) throw new Error(event.error.message);
    const piece = event.choices?.[0]?.delta?.content || "";
    if (piece) first ??= (performance.now() - began) / 1000;
    tokens = event.usage?.completion_tokens ?? tokens;
    if (piece) grow(piece);
  }
  return { first, tokens, total: (performance.now() - began) / 1000 };
}

const SHORT_S = 0.3;

// Tokens a second, where the stream was long enough to tell.
function speed({ first, total, tokens }) {
  if (!tokens) return "";
  const streamed = total - (first || 0);
  return `: ${count(tokens)} tokens${streamed > SHORT_S ? `, ${(tokens / streamed).toFixed(1)} a second` : ""}`;
}

function Said({ turn }) {
  if (turn.role === "user") {
    return html`${turn.picture ? html`<img src=${turn.picture} alt=${turn.file} />` : turn.file && html`<span class="tag">${turn.file}</span> `}${turn.shown}`;
  }
  return turn.content ? html`<${Markdown} text=${turn.content} />` : html`<span class="typing" role="img" aria-label="writing"></span>`;
}

// A verdict on the answer, as any caller may give one.
function Thumbs({ requestId }) {
  const [said, say] = useState("");
  const judge = async (thumbs) => {
    try {
      await postJson("/v1/feedback", { request_id: requestId, thumbs });
      say(`Kept: thumbs ${thumbs}`);
    } catch (error) {
      say(error.message);
    }
  };
  return html`<div class="row"><span class="small soft">Was it good?</span>
    ${["up", "down"].map((thumbs) => html`<button type="button" class="button small" onClick=${() => judge(thumbs)}>${thumbs === "up" ? "Yes" : "No"}</button>`)}
    <span class="small muted" role="status">${said}</span></div>`;
}

export function Chat({ state }) {
  const [model, setModel] = useState("auto");
  const [turns, setTurns] = useState([]);
  const [text, setText] = useState("");
  const [file, setFile] = useState(null);
  const [metadata, setMetadata] = useState(null);
  const [timing, setTiming] = useState(null);
  const [failure, setFailure] = useState("");
  const control = useRef(null);
  const [isBusy, setBusy] = useState(false);
  const picker = useRef();
  const end = useRef();
  useEffect(() => end.current.scrollTo(0, end.current.scrollHeight), [turns]);

  const send = async (event) => {
    event?.preventDefault();
    const said = text.trim();
    if ((!said && !file) || isBusy) return;
    const url = file && (await dataUrl(file));
    const picture = file?.type.startsWith("image/") ? url : "";
    const asked = [...turns, { role: "user", content: contentOf(said, file, url), shown: said, file: file?.name, picture }];
    setTurns([...asked, { role: "assistant", content: "" }]);
    setText("");
    setFile(null);
    setFailure("");
    setTiming(null);
    setBusy(true);
    control.current = new AbortController();
    let answer = "";
    try {
      const messages = asked.map(({ role, content }) => ({ role, content }));
      setTiming(await stream({ model, messages, max_tokens: 400 }, control.current.signal, (piece) => {
        answer += piece;
        setTurns([...asked, { role: "assistant", content: answer }]);
      }, setMetadata));
    } catch (error) {
      if (!answer) setTurns(asked);
      if (error.name !== "AbortError") setFailure(error.message);
    }
    setBusy(false);
  };
  const keyed = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  };

  return html`<div class="grid"><div class="span-8 wide-first"><${Card} title="Conversation"
      tools=${turns.length > 0 && html`<button type="button" class="button small" onClick=${() => (setTurns([]), setMetadata(null), setTiming(null))}>Begin anew</button>`}>
    <div class="stack">
      <div class="turns" ref=${end} tabindex="0" role="log" aria-label="Conversation" aria-live="polite" aria-busy=${String(isBusy)}>
        ${turns.length === 0 && html`<div class="ideas">${IDEAS.map((idea) => html`<button type="button" class="idea" onClick=${() => setText(idea)}>${idea}</button>`)}</div>`}
        ${turns.map((turn) => html`<div class=${`turn ${turn.role}`}><span class="hidden-text">${turn.role === "user" ? "You" : "Model"}:</span>
          <${Said} turn=${turn} /></div>`)}
      </div>
      ${failure && html`<${Notice} tone="bad">${failure}<//>`}
      <form class="composer" onSubmit=${send}>
        <label class="hidden-text" for="chat-text">Message</label>
        <textarea id="chat-text" rows="2" placeholder="Ask something, in any language" value=${text} onInput=${(e) => setText(e.target.value)} onKeyDown=${keyed}></textarea>
        <div class="row">
          <input ref=${picker} type="file" accept="image/*,audio/*,video/*" hidden onChange=${(e) => (setFile(e.target.files[0] || null), (e.target.value = ""))} />
          <button type="button" class="button small" onClick=${() => picker.current.click()}><${Icon} name="image" size=${15} />${file ? file.name : "Picture, recording or video"}</button>
          ${file && html`<button type="button" class="button icon" aria-label="Leave the file out" onClick=${() => setFile(null)}><${Icon} name="close" size=${14} /></button>`}
          <span class="push tiny muted wide-only">Enter sends, Shift Enter breaks the line</span>
          ${isBusy ? html`<button type="button" class="button" onClick=${() => control.current.abort()}><${Icon} name="stop" size=${15} />Stop</button>`
                   : html`<button type="submit" class="button main" disabled=${!text.trim() && !file}>Send</button>`}
        </div>
      </form>
    </div><//></div>
  <div class="span-4 wide-first stack">
    <${Card} label="Settings"><${ModelField} state=${state} kind="chat" value=${model} onPick=${setModel} /><//>
    <${Routed} metadata=${metadata} state=${state}>${timing && html`<p class="small soft">First word after ${duration(timing.first)}, all of it in ${duration(timing.total)}${speed(timing)}.</p>
      <${Thumbs} key=${metadata?.request_id} requestId=${metadata?.request_id} />`}<//>
  </div></div>`;
}
