// Small helpers around the document. Text is only ever set as text.

export const $ = id => document.getElementById(id);

/** An element with properties, data and children; `class` and `text` as attributes are spelled. */
export function make(tag, { class: className, text, data, attributes, on, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(attributes ?? {})) if (value !== undefined) element.setAttribute(name, value);
  for (const [name, handler] of Object.entries(on ?? {})) element.addEventListener(name, handler);
  Object.assign(element, properties);
  element.append(...children.filter(child => child !== undefined && child !== null));
  return element;
}

/** Sets text where it changed: what did not change is neither painted nor read out again. */
export function put(element, text) {
  const wanted = String(text ?? "");
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Replaces the children where their text or classes changed. */
export function fill(element, children) {
  const next = document.createElement("div");
  next.append(...children);
  if (next.innerHTML !== element.innerHTML) element.replaceChildren(...next.childNodes);
}

export function row(cells, tag = "td") {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const { text, class: className, node, header } = typeof cell === "object" && cell !== null ? cell : { text: cell };
    const made = document.createElement(header ? "th" : tag);
    if (header) made.scope = "row";
    if (className) made.className = className;
    if (node) made.append(node);
    else made.textContent = text ?? "";
    line.append(made);
  }
  return line;
}

/** Runs `work` in a frame of its own, and not again before `pause` milliseconds have passed. */
export function eachFrame(work, pause = 0) {
  let planned = false, last = -Infinity;
  const draw = () => requestAnimationFrame(() => {
    planned = false;
    last = performance.now();
    work();
  });
  return () => {
    if (planned) return;
    planned = true;
    const wait = last + pause - performance.now();
    if (wait > 0) setTimeout(draw, wait);
    else draw();
  };
}

/** A canvas of the size that it has on the screen; its context counts CSS pixels. */
export function surface(canvas) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** The colours of the theme in force. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  return name => style.getPropertyValue(`--${name}`).trim();
}

/** The page's font for a canvas. */
export const font = (weight = 400, size = 11) => `${weight} ${size}px "Candela Sans", Inter, system-ui, sans-serif`;
