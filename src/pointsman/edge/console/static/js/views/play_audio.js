// A recording to text, and text to a recording.
import { html, useEffect, useRef, useState } from "../lib.js";
import { ask, postJson } from "../api.js";
import { bytes, duration, language } from "../format.js";
import { Icon } from "../icons.js";
import { Card, Notice } from "../parts.js";
import { metadataOf, ModelField, Routed } from "./play_parts.js";

const LANGUAGES = ["en", "hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa"];

function Languages({ value, onPick, any }) {
  return html`<label class="field"><span>Language</span><select value=${value} onChange=${(e) => onPick(e.target.value)}>
    ${any && html`<option value="">as heard</option>`}${LANGUAGES.map((code) => html`<option value=${code}>${language(code)}</option>`)}</select></label>`;
}

export function Transcription({ state }) {
  const [model, setModel] = useState("auto");
  const [spoken, setSpoken] = useState("");
  const [file, setFile] = useState(null);
  const [text, setText] = useState("");
  const [metadata, setMetadata] = useState(null);
  const [failure, setFailure] = useState("");
  const [isBusy, setBusy] = useState(false);

  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setFailure("");
    const form = new FormData();
    form.append("file", file, file.name || "recording.webm");
    form.append("model", model);
    if (spoken) form.append("language", spoken);
    try {
      const response = await ask("/v1/audio/transcriptions", { method: "POST", body: form });
      setMetadata(metadataOf(response));
      setText((await response.json()).text);
    } catch (error) {
      setFailure(error.message);
    }
    setBusy(false);
  };
  return html`<div class="grid"><div class="span-8 wide-first"><${Card} title="Speech to text">
    <form class="stack" onSubmit=${send}>
      <label class="field"><span>Recording: wav, mp3, ogg, flac, webm, m4a</span><input type="file" accept="audio/*" onChange=${(e) => setFile(e.target.files[0] || null)} /></label>
      <${Recorder} onDone=${setFile} />
      ${file && html`<${Player} blob=${file} label="The recording" />`}
      <div class="fields"><${ModelField} state=${state} kind="transcription" value=${model} onPick=${setModel} />
        <${Languages} value=${spoken} onPick=${setSpoken} any /></div>
      <div><button type="submit" class="button main" disabled=${!file || isBusy}>${isBusy ? "Listening …" : "Write it down"}</button></div>
      ${failure && html`<${Notice} tone="bad">${failure}<//>`}
      ${text && html`<blockquote class="said" aria-live="polite">${text}</blockquote>`}
    </form><//></div>
    <div class="span-4 wide-first"><${Routed} metadata=${metadata} state=${state} /></div></div>`;
}

// The microphone, where the browser lets a page of this address have it.
function Recorder({ onDone }) {
  const recorder = useRef(null);
  const [isOn, setOn] = useState(false);
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return null;
  const begin = async () => {
    const source = await navigator.mediaDevices.getUserMedia({ audio: true }).catch(() => null);
    if (!source) return;
    const pieces = [];
    recorder.current = new MediaRecorder(source);
    recorder.current.ondataavailable = (event) => pieces.push(event.data);
    recorder.current.onstop = () => {
      for (const track of source.getTracks()) track.stop();
      onDone(new File(pieces, "recording.webm", { type: recorder.current.mimeType }));
      setOn(false);
    };
    recorder.current.start();
    setOn(true);
  };
  return html`<div><button type="button" class="button small" onClick=${() => (isOn ? recorder.current.stop() : begin())}>
    <${Icon} name=${isOn ? "stop" : "mic"} size=${15} />${isOn ? "Stop recording" : "Record with the microphone"}</button></div>`;
}

function Player({ blob, label }) {
  const [url, setUrl] = useState("");
  useEffect(() => {
    const made = URL.createObjectURL(blob);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return url && html`<audio controls src=${url} aria-label=${label}></audio>`;
}

export function Speech({ state }) {
  const [model, setModel] = useState("auto");
  const [spoken, setSpoken] = useState("en");
  const [text, setText] = useState("The points are set; the train may pass.");
  const [made, setMade] = useState(null);
  const [metadata, setMetadata] = useState(null);
  const [failure, setFailure] = useState("");
  const [isBusy, setBusy] = useState(false);

  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setFailure("");
    const began = performance.now();
    try {
      const response = await postJson("/v1/audio/speech", { model, input: text, voice: "default", language: spoken, response_format: "wav" });
      setMetadata(metadataOf(response));
      const blob = await response.blob();
      setMade({ blob, took: (performance.now() - began) / 1000 });
    } catch (error) {
      setFailure(error.message);
    }
    setBusy(false);
  };
  return html`<div class="grid"><div class="span-8 wide-first"><${Card} title="Text to speech">
    <form class="stack" onSubmit=${send}>
      <label class="field"><span>Text</span><textarea rows="4" value=${text} onInput=${(e) => setText(e.target.value)}></textarea></label>
      <div class="fields"><${ModelField} state=${state} kind="speech" value=${model} onPick=${setModel} />
        <${Languages} value=${spoken} onPick=${setSpoken} /></div>
      <div><button type="submit" class="button main" disabled=${!text.trim() || isBusy}>${isBusy ? "Speaking …" : "Speak"}</button></div>
      ${failure && html`<${Notice} tone="bad">${failure}<//>`}
      ${made && html`<div class="stack tight"><${Player} blob=${made.blob} label="What was spoken" />
        <p class="small soft">${bytes(made.blob.size)} in ${duration(made.took)}</p></div>`}
    </form><//></div>
    <div class="span-4 wide-first"><${Routed} metadata=${metadata} state=${state} /></div></div>`;
}
