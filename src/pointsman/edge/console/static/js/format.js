// Numbers and names as people read them. Pure.
const LANGUAGES = {
  en: "English", hi: "Hindi", ta: "Tamil", te: "Telugu", bn: "Bengali", mr: "Marathi", gu: "Gujarati", kn: "Kannada",
  ml: "Malayalam", pa: "Punjabi", und: "undetermined",
};
const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

export function language(code) {
  if (!code) return "—";
  if (LANGUAGES[code]) return LANGUAGES[code];
  try {
    return names.of(code);
  } catch {
    return code;
  }
}

export function duration(s) {
  if (s === null || s === undefined || Number.isNaN(s)) return "—";
  const ms = s * 1000;
  if (ms < 0.95) return `${Math.round(ms * 1000)}\u00a0µs`;
  if (ms < 10) return `${ms.toFixed(1)}\u00a0ms`;
  if (ms < 1000) return `${Math.round(ms)}\u00a0ms`;
  if (s < 10) return `${s.toFixed(2)}\u00a0s`;
  if (s < 100) return `${s.toFixed(1)}\u00a0s`;
  return span(s);
}

export function span(s) {
  if (s < 60) return `${Math.round(s)}\u00a0s`;
  if (s < 3600) return `${Math.round(s / 60)}\u00a0min`;
  if (s < 86400) return `${(s / 3600).toFixed(1)}\u00a0h`;
  return `${(s / 86400).toFixed(1)}\u00a0d`;
}

// A figure and its unit, apart, for a tile.
export function parts(text) {
  const [figure, unit = ""] = text.split("\u00a0");
  return [figure, unit];
}

export function bytes(n) {
  if (n === null || n === undefined) return "—";
  if (n < 1000) return `${n}\u00a0B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = n;
  let unit = -1;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)}\u00a0${units[unit]}`;
}

export function count(n) {
  if (n === null || n === undefined) return "—";
  return n < 10000 ? String(n) : n.toLocaleString("en").replaceAll(",", "\u202f");
}

export function rate(n) {
  if (n >= 100) return String(Math.round(n));
  return n >= 10 ? n.toFixed(1) : n.toFixed(2).replace(/0$/, "");
}

export function percent(share, digits = 1) {
  if (share === null || share === undefined || Number.isNaN(share)) return "—";
  const value = share * 100;
  return `${value === 0 || value === 100 ? value : value.toFixed(digits)}\u00a0%`;
}

export function clock(unix) {
  return new Date(unix * 1000).toLocaleTimeString("en-GB");
}

export function minute(unix) {
  return new Date(unix * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

export function money(value) {
  if (!value) return "0";
  return value < 0.01 ? value.toPrecision(2) : value.toFixed(value < 10 ? 3 : 2);
}

export const TONES = { success: "ok", client_error: "warn", refused: "warn", error: "bad", client_closed: "idle" };
const STATUSES = {
  success: "answered", client_error: "rejected", refused: "refused", error: "failed", client_closed: "client left",
};
export const status = (name) => STATUSES[name] || name;
export const words = (name) => (name || "").replaceAll("_", " ");
