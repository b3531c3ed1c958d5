// Plots over time, drawn by uPlot: stacked bars, and lines with a band. Colours are those of the page's mode.
import { html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { clock, minute } from "./format.js";
import { Dot } from "./parts.js";

// What a colour of the page is now: canvas knows no variables.
function colourNow(name) {
  const probe = document.createElement("span");
  probe.style.color = name;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function useTheme() {
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const change = () => setTheme((n) => n + 1);
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", change);
    window.addEventListener("theme", change);
    return () => {
      media.removeEventListener("change", change);
      window.removeEventListener("theme", change);
    };
  }, []);
  return theme;
}

function axis(format, size) {
  const ink = colourNow("var(--ink-3)");
  const line = colourNow("var(--line)");
  return {
    stroke: ink,
    font: "11px system-ui, sans-serif",
    size,
    gap: 4,
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
    values: (_, splits) => splits.map(format),
  };
}

// `lines`: {label, colour, values, style: "bar" | "line" | "dash" | "edge", fill}. Stacked bars come as totals already.
function optionsOf({ lines, width, height, format, range, step, time, xRange }) {
  const series = lines.map((line) => {
    const stroke = colourNow(line.colour);
    const isBar = line.style === "bar";
    return {
      label: line.label,
      stroke: line.style === "edge" ? "transparent" : stroke,
      width: isBar ? 0 : 1.8,
      fill: isBar ? stroke : undefined,
      dash: line.style === "dash" ? [4, 4] : undefined,
      points: line.style === "line" ? { size: 4 } : { show: false }, // drawn where they are far apart, or alone
      spanGaps: line.style !== "bar",
      paths: isBar ? uPlot.paths.bars({ size: [0.82, 24], align: 1 }) : undefined,
    };
  });
  const bands = lines.flatMap((line, at) =>
    line.bandTo === undefined ? [] : [{ series: [at + 1, line.bandTo + 1], fill: line.bandFill }],
  );
  return {
    width,
    height,
    padding: [8, 14, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: { x: { time: false, range: xRange }, y: { range } },
    series: [{}, ...series],
    bands,
    axes: [
      { ...axis(time ? minute : (n) => n, 24), grid: { show: false }, space: 72,
        incrs: time ? [60, 300, 600, 900, 1800] : undefined },
      { ...axis(format, 46), space: 34 },
    ],
    step,
  };
}

export function Plot({ at, lines, height = 200, format = String, range, label, time = true, xRange, tip }) {
  const place = useRef();
  const plot = useRef();
  const latest = useRef();
  const [hover, setHover] = useState(null);
  const theme = useTheme();
  const shape = JSON.stringify([lines.map((l) => [l.label, l.colour, l.style, l.bandTo]), height, theme, time]);
  latest.current = { data: [at, ...lines.map((line) => line.values)], xRange, range };

  useEffect(() => {
    const element = place.current;
    const watch = (u) => {
      const { idx, left } = u.cursor;
      setHover(idx === null || idx === undefined || left < 0 ? null : { idx, left });
    };
    const options = optionsOf({
      lines, height, format, time, width: element.clientWidth,
      range: (u, low, high) => (latest.current.range ? latest.current.range(low, high) : [0, (high || 1) * 1.08]),
      xRange: (u, low, high) => latest.current.xRange || [low, high],
    });
    plot.current = new uPlot({ ...options, hooks: { setCursor: [watch] } }, latest.current.data, element);
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(latest.current.data));

  return html`<div class="chart" role="img" aria-label=${label} style=${{ minHeight: `${height}px` }}>
    <div ref=${place}></div>
    ${hover && at[hover.idx] !== undefined && html`<${Tip} hover=${hover} width=${place.current.clientWidth}
      when=${time ? clock(at[hover.idx]) : at[hover.idx]} rows=${tip(hover.idx)} />`}
  </div>`;
}

function Tip({ hover, when, rows, width }) {
  const isRight = hover.left > width * 0.55;
  const style = isRight ? { right: `${width - hover.left - 30}px` } : { left: `${hover.left + 62}px` };
  return html`<div class="tip" style=${style} aria-hidden="true">
    <div class="when">${when}</div>
    ${rows.map(({ name, value, colour }) => html`<div><${Dot} colour=${colour} />${name}<b>${value}</b></div>`)}
  </div>`;
}

// Bars on top of each other. `parts`: {name, colour, values}, the lowest first.
export function Stacked({ at, parts, label, height, format = String, xRange }) {
  const lines = useMemo(() => {
    const below = at.map(() => 0);
    const sums = parts.map((part) => part.values.map((value, i) => (below[i] += value)));
    return parts
      .map((part, i) => ({ label: part.name, colour: part.colour, values: sums[i], style: "bar" }))
      .reverse();
  }, [at, parts]);
  const tip = (i) =>
    parts.filter((part) => part.values[i]).map((part) => ({ ...part, value: format(part.values[i]) })).reverse();
  return html`<${Plot} at=${at} lines=${lines} height=${height} format=${format} label=${label} tip=${tip}
    xRange=${xRange} />
    <${Legend} parts=${parts} />`;
}

export function Legend({ parts }) {
  return html`<div class="legend">
    ${parts.map(({ name, colour }) => html`<span key=${name}><${Dot} colour=${colour} />${name}</span>`)}
  </div>`;
}
