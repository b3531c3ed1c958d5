// Asking the gateway. Keys live in this tab's session storage and leave it only as a header, to this very server.
const ADMIN = "pointsman.admin-key";
const API = "pointsman.api-key";

export const keys = {
  get admin() { return sessionStorage.getItem(ADMIN) || ""; },
  get api() { return sessionStorage.getItem(API) || ""; },
  keep(admin, api) {
    for (const [name, key] of [[ADMIN, admin], [API, api]]) {
      if (key) sessionStorage.setItem(name, key);
      else sessionStorage.removeItem(name);
    }
    window.dispatchEvent(new Event("keys"));
  },
};

export class Failure extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

// The key for a path: an operator's where fleet and console are asked, else a caller's.
export function headersFor(path, more = {}) {
  const isOwn = path.startsWith("/v1/") && !path.startsWith("/v1/experiments/");
  const key = isOwn ? keys.api || keys.admin : keys.admin || keys.api;
  return key ? { authorization: `Bearer ${key}`, ...more } : more;
}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options, headers: headersFor(path, options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The gateway does not answer", "unreachable", 0);
  }
  if (!response.ok) throw await failureOf(response);
  return response;
}

export const getJson = async (path, options) => (await ask(path, options)).json();

export const postJson = (path, body, options = {}) =>
  ask(path, {
    method: "POST",
    body: body === undefined ? undefined : JSON.stringify(body),
    ...options,
    headers: { "content-type": "application/json", ...options.headers },
  });

async function failureOf(response) {
  try {
    const { error } = await response.json();
    return new Failure(error.message, error.code, response.status);
  } catch {
    return new Failure(`The gateway answered ${response.status}`, "unknown", response.status);
  }
}

// The data of server-sent events, as they come.
export async function* eventsOf(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const events = rest.split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) yield data.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
