// The dialog for keys. They stay in this tab's session storage, and are gone when the tab is closed.
import { html, useEffect, useRef, useState } from "./lib.js";

export function KeyDialog({ keys, onClose }) {
  const dialog = useRef();
  const [admin, setAdmin] = useState(keys.admin);
  const [api, setApi] = useState(keys.api);
  useEffect(() => dialog.current.showModal(), []);

  const save = (event) => {
    event.preventDefault();
    keys.keep(admin.trim(), api.trim());
    dialog.current.close();
  };
  return html`<dialog ref=${dialog} aria-labelledby="keys-title" onClose=${onClose}>
    <form class="stack" onSubmit=${save}>
      <h2 id="keys-title">Keys</h2>
      <p class="small soft">Kept in this tab until it is closed, and sent only to this gateway. Leave empty what your
        gateway does not ask for.</p>
      <label class="field"><span>Admin key: sees traffic and fleet, changes them</span>
        <input type="password" autocomplete="off" value=${admin} onInput=${(e) => setAdmin(e.target.value)} /></label>
      <label class="field"><span>API key: asks models in the playground</span>
        <input type="password" autocomplete="off" value=${api} onInput=${(e) => setApi(e.target.value)} /></label>
      <div class="row"><button type="button" class="button" onClick=${() => { setAdmin(""); setApi(""); }}>Clear</button>
        <button type="button" class="button push" onClick=${() => dialog.current.close()}>Cancel</button>
        <button type="submit" class="button main">Keep</button></div>
    </form>
  </dialog>`;
}
