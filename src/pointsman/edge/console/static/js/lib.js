// What the page is drawn with: Preact's functions, and `html`, which makes elements of a template.
import { h, render, Fragment } from "../vendor/preact.js";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
import htm from "../vendor/htm.js";

const html = htm.bind(h);

export { html, render, Fragment, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState };
