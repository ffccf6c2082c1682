// The dashboard: what is read and heard (data.js) meets what is drawn. One place decides what is looked at.

import { coverage } from "./bars.js";
import { Data } from "./data.js";
import { Dialogs } from "./dialogs.js";
import { Actions } from "./actions.js";
import { $, colours, eachFrame, fill, make, put, row } from "./dom.js";
import { Events } from "./events.js";
import { Heatmap } from "./heatmap.js";
import { formatLink, parseLink } from "./link.js";
import * as panels from "./panels.js";
import { RestError } from "./rest.js";
import { clockTime, dayName, duration, isoDate, minuteTime, offsetMinutes, offsetName } from "./time.js";
import { Timeline } from "./timeline.js";
import { Verdicts } from "./verdict.js";
import * as words from "./words.js";

const RANGES = { "1d": 1, "3d": 3, "1w": 5, "1m": 22 };
/** Bars in the table form. */
const ROWS = 60;

const data = new Data();
const link = { range: "1d", ...parseLink(location.hash) };
let colour = colours(), candles, knownAt, fitted = false;
/** The view was moved by hand, or went to a time: it stays where it is. */
let moved = false;
/** The bar under the crosshair. */
let pointed;

const dialogs = new Dialogs(data, { pair: choosePair, panel: showPanel, event: showEvent, time: goTo, live: toLive, theme: changeTheme, form: () => showForm(!$("chart").classList.contains("off")), step: stepPair, token: useToken });
const linkTo = id => formatLink({ ...link, at: undefined, panel: undefined, event: id });
const verdicts = new Verdicts(data, choosePair, linkTo);
const timeline = new Timeline(name => colour(name), at => { events.near(at); goTo(at); });
const heatmap = new Heatmap(data, name => colour(name), (pair, opens, date) => { choosePair(pair); goTo(opens); put($("heatmap-about"), `${pair}, ${dayName(date)}`); });
const events = new Events(data, { linkTo, onPick: at => goTo(at) });

// --- what is looked at, and the address that says so ------------------------------------------------------------------

function remember(changes) {
  Object.assign(link, changes);
  link.pair = data.pair || link.pair;
  link.interval = data.interval === "5m" ? undefined : data.interval;
  history.replaceState(null, "", formatLink({ ...link, range: link.range === "1d" ? undefined : link.range }) || location.pathname + location.search);
}

function choosePair(pair) {
  if (pair === data.pair) return;
  leaveKnownAt();
  data.look(pair, data.interval);
  remember({ at: undefined, event: undefined });
}
function stepPair(step) {
  const names = data.symbols.map(one => one.symbol);
  choosePair(names[(names.indexOf(data.pair) + step + names.length) % names.length]);
}
function showPanel(id) {
  const panel = $(id);
  if (!panel?.matches("main > section")) return;
  for (const other of document.querySelectorAll(".found")) other.classList.remove("found");
  panel.classList.add("found");
  panel.scrollIntoView({ block: "center" });
  setTimeout(() => panel.classList.remove("found"), 2500);
  remember({ panel: id });
}
function showEvent(id) {
  const event = data.journal.get(id);
  events.show(id);
  showPanel("journal");
  remember({ event: id, panel: undefined });
  if (event) goTo(event.at, false);
}
async function goTo(at, kept = true) {
  if (!Number.isFinite(at)) return;
  await chartReady;
  await data.backTo(at);
  fitted = true;
  await setCandles();
  candles?.goTo(at);
  moved = true;
  $("to-live").hidden = false;
  markRange(undefined);
  if (kept) remember({ at: new Date(at).toISOString().slice(0, 19) + "Z" });
}
function toLive() {
  leaveKnownAt();
  $("to-live").hidden = true;
  fitted = false;
  remember({ at: undefined, event: undefined });
  fitRange();
}
function useToken(value) {
  if (data.client) data.useToken(value);
  else { sessionStorage.setItem("candela.token", value); begin(); }
}
function changeTheme() {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("candela.theme", next); } catch { /* it holds for this page then */ }
  document.documentElement.dataset.theme = next;
}

// --- candles --------------------------------------------------------------------------------------------------------------

const chartReady = new Promise(ready => {
  const load = () => import("./chart.js").then(({ Candles }) => {
    candles = new Candles($("chart"), { colour: name => colour(name), onOlder: () => { if (!knownAt) data.older(); }, onPoint: bar => { pointed = bar; readOut(bar); }, onMoved: () => {} });
    ready();
  });
  // after the first paint: the chart is the largest part of the page
  requestAnimationFrame(() => requestAnimationFrame(load));
});

async function setCandles() {
  await chartReady;
  const bars = knownAt?.bars ?? data.book.list;
  candles.set(bars, knownAt ? [] : data.gapsOf(data.pair, data.interval), data.slot, data.zone);
  if (!fitted && bars.length) fitRange();
  readOut();
  drawBars();
}
function session() {
  const told = data.sessions.get(data.pair);
  if (!told) return undefined;
  const opens = Date.parse(told.current_session_start ?? told.opens), closes = Date.parse(told.current_session_end ?? told.closes);
  if (Number.isFinite(opens) && Number.isFinite(closes)) return (lastSession[data.pair] = { opens, closes, expected: told.expected_bars, date: told.session_date, type: told.type, reason: told.reason, status: told.status });
  const last = lastSession[data.pair] ?? sessionOf(data.book.last);
  return last && { ...last, status: told.status, reason: told.reason, over: true };
}
const lastSession = {};
/** The session that a bar is of, as far as its bars tell. */
function sessionOf(last) {
  const mine = last ? data.book.list.filter(bar => bar.session_date === last.session_date) : [];
  return mine.length ? { opens: mine[0].at, closes: mine.at(-1).end, expected: mine.length, date: last.session_date, type: last.session_type } : undefined;
}
function fitRange() {
  if (!candles || !data.book.size) return;
  moved = false;
  candles.range(RANGES[link.range] ?? 1, session()?.expected);
  fitted = data.olderCursor !== undefined;
  markRange(link.range);
}
function markRange(range) {
  for (const button of $("ranges").children) button.setAttribute("aria-pressed", String(button.dataset.range === range));
}
function readOut(bar) {
  const shown = bar ?? knownAt?.bars.at(-1) ?? data.book.last;
  if (!shown) return;
  const decimals = words.decimals([shown.open, shown.close]), parts = [make("b", { text: `${dayName((shown.open_time ?? new Date(shown.wall * 1000).toISOString()).slice(0, 10))} ${(shown.open_time ?? new Date(shown.wall * 1000).toISOString()).slice(11, 16)}` })];
  if (shown.close === undefined) {
    const gap = data.gapsOf(data.pair, data.interval).find(one => one.at <= shown.at && shown.at < one.end);
    parts.push(make("span", { class: "warn-text", text: gap ? `missing, ${gap.status}: ${words.cause(gap.cause)}` : "no bar" }));
  } else {
    for (const name of ["open", "high", "low", "close"]) parts.push(make("span", {}, `${name[0].toUpperCase()} `, make("b", { class: name === "close" ? (shown.close >= shown.open ? "up" : "down") : "", text: words.price(shown[name], decimals) })));
    parts.push(make("span", { text: `${words.number(shown.ticks)} ticks` }), make("span", { text: [shown.state === "partial" ? "forming" : "", words.PROVENANCE[shown.provenance] ?? shown.provenance, shown.revision ? `revision ${shown.revision}` : "", ...(shown.flags ?? []).map(flag => words.FLAGS[flag] ?? words.plain(flag))].filter(Boolean).join(", ") }));
  }
  fill($("read-out"), parts);
}
const drawBars = eachFrame(() => {
  const bars = (knownAt?.bars ?? data.book.list).slice(-ROWS).reverse(), decimals = words.decimals(bars.slice(0, 20).map(bar => bar.close)), today = isoDate(data.now(), data.zone);
  fill($("bar-rows"), bars.map(bar => row([
    { text: bar.open_time.slice(0, 10) === today ? bar.open_time.slice(11, 19) : `${dayName(bar.open_time.slice(0, 10)).slice(4)} ${bar.open_time.slice(11, 16)}`, header: true },
    words.price(bar.open, decimals), words.price(bar.high, decimals), words.price(bar.low, decimals), { text: words.price(bar.close, decimals), class: bar.close > bar.open ? "up" : bar.close < bar.open ? "down" : "" }, words.number(bar.ticks),
    { text: `${words.PROVENANCE[bar.provenance] ?? bar.provenance}${bar.revision ? `, revision ${bar.revision}` : ""}`, class: "text" },
    { text: [bar.state === "partial" ? "forming" : bar.state === "revised" ? "revised" : "", ...(bar.flags ?? []).map(flag => words.FLAGS[flag] ?? words.plain(flag))].filter(Boolean).join(", "), class: `text ${bar.flags?.length ? "warn-text" : "soft"}` },
  ])));
}, 500);
function showForm(table) {
  $("bars").classList.toggle("hidden", !table);
  $("chart").classList.toggle("off", table);
  $("read-out").hidden = table;
  $("as-chart").setAttribute("aria-pressed", String(!table));
  $("as-table").setAttribute("aria-pressed", String(table));
}

// --- as known at -------------------------------------------------------------------------------------------------------

let knownTimer;
function knownSpan() {
  const one = session();
  return one && { from: one.opens, to: Math.min(data.now(), one.closes + 600_000) };
}
function moveKnownAt() {
  const slider = $("known-at"), span = knownSpan();
  if (!span || Number(slider.value) >= Number(slider.max)) return leaveKnownAt();
  const at = span.from + (span.to - span.from) * slider.value / slider.max;
  put($("known-text"), minuteTime(at, data.zone));
  clearTimeout(knownTimer);
  knownTimer = setTimeout(async () => {
    const pair = data.pair;
    const bars = await data.knownAt(at, 400).catch(error => { put($("known-text"), error.message); return undefined; });
    if (!bars || pair !== data.pair || Number(slider.value) >= Number(slider.max)) return;
    knownAt = { at, bars: bars.map(bar => ({ ...bar, at: Date.parse(bar.open_time), end: Date.parse(bar.close_time) })) };
    $("to-live").hidden = false;
    put($("to-live"), `As known at ${minuteTime(at, data.zone)}: back to live`);
    fitted = moved = true;
    await setCandles();
    candles.range(1, session()?.expected);
  }, 120);
  return undefined;
}
function leaveKnownAt() {
  clearTimeout(knownTimer);
  $("known-at").value = $("known-at").max;
  put($("known-text"), "now");
  if (!knownAt) return;
  knownAt = undefined;
  $("to-live").hidden = true;
  put($("to-live"), "Back to live");
  fitted = false;
  setCandles();
}

// --- drawing ------------------------------------------------------------------------------------------------------------

// What changes with each tick is drawn as often as an eye can follow, and no oftener.
const drawTape = eachFrame(() => panels.tape(data), 250);
const drawVerdicts = eachFrame(() => verdicts.draw(), 120);
const drawReadOut = eachFrame(() => readOut(pointed), 250);
const drawEvents = eachFrame(() => events.draw(), 300);
const drawStatus = eachFrame(() => {
  for (const draw of ["feed", "keys", "pipeline", "clients", "actors", "reconciliation", "service", "cluster"]) panels[draw](data);
}, 500);
const drawSession = eachFrame(() => {
  const now = data.now(), one = session(), gaps = data.gapsOf(data.pair, "5m"), base = data.interval === "5m";
  const slot = base ? 300_000 : data.slot, marks = data.journal.find({ kinds: ["feed", "condition"], pair: data.pair });
  timeline.draw({ session: one, book: data.book, gaps, events: marks, now, slot, zone: data.zone });
  if (!one) return put($("session-note"), words.sentence(data.sessions.get(data.pair)?.reason ?? ""));
  const { due, present, unfillable } = coverage(one, data.book.list, gaps, now, slot), open = gaps.filter(gap => ["open", "filling"].includes(gap.status)).length;
  put($("session-title"), `Session of ${one.date ? dayName(one.date) : "today"}`);
  put($("session-note"), [one.reason && one.reason !== "business day" ? words.sentence(one.reason) : "", one.type && one.type !== "spot" ? words.plain(one.type) : "", `${present} of ${words.bars(due)} due`, open ? `Open gaps: ${open}` : "no open gap", unfillable.length ? `unfillable: ${unfillable.length}` : ""].filter(Boolean).join(" · "));
  if (base && one.date) heatmap.today(data.pair, one.date, present);
  const span = knownSpan();
  $("known-at").disabled = !span || span.to - span.from < 300_000;
}, 400);
function drawClock() {
  const now = data.now();
  put($("market-time"), data.clock.known ? clockTime(now, data.zone) : "--:--:--");
  put($("zone"), data.symbols.length ? `${dayName(isoDate(now, data.zone))}, ${data.zone}${data.zone === "UTC" ? "" : ` (${offsetName(offsetMinutes(now, data.zone))})`}` : "");
  const rate = data.clock.rate;
  $("rate").hidden = rate === 1;
  put($("rate"), `market time runs ${Math.round(rate)}× faster`);
  const { state, code, reason, retryIn, at } = data.link, connected = data.live;
  const shown = connected ? ["good", "Live"] : state === "refused" ? ["bad", "Refused"] : state === "connecting" && !data.welcome ? ["wait", "Connecting"] : ["wait", "Reconnecting"];
  $("link").className = `pill ${shown[0]}`;
  put($("link"), shown[1]);
  const silent = performance.now() - data.heard, stale = !connected && (data.welcome !== undefined || silent > 4000);
  $("stale").hidden = !stale;
  if (stale) {
    const wait = state === "waiting" && retryIn !== undefined ? Math.max(0, Math.ceil((at + retryIn - performance.now()) / 1000)) : undefined;
    const what = state === "refused" ? `The service refused this page (${[code, reason].filter(Boolean).join(", ")}).` : `The service does not answer.${wait ? ` Trying again in ${wait} s.` : " Trying again."}`;
    put($("stale"), data.clock.known ? `Data as of ${clockTime(heardAt, data.zone)} ${data.zone}, ${duration(silent)} ago. ${what}` : what);
  } else heardAt = now;
}
let heardAt = Date.now();

const actions = new Actions(data);

function everything() {
  drawClock();
  drawVerdicts();
  drawTape();
  drawSession();
  drawStatus();
}

data.on("look", () => {
  fitted = link.at !== undefined;
  put($("pair-name"), data.pair);
  document.title = `${data.pair} · candela`;
  const intervals = data.symbol.intervals;
  $("intervals").replaceChildren(...(intervals.length > 1 ? intervals : []).map(name => make("button", { type: "button", text: name, attributes: { "aria-pressed": String(name === data.interval) }, on: { click: () => { leaveKnownAt(); data.look(data.pair, name); remember({}); } } })));
  if (candles) setCandles();
  everything();
  drawEvents();
});
data.on("history", () => { if (!knownAt) setCandles(); drawSession(); });
data.on("gaps", () => { if (!knownAt) setCandles(); drawSession(); });
data.on("bars", bars => {
  if (!knownAt && candles) {
    const whole = bars.map(bar => candles.update(bar)).every(Boolean);
    if (!whole) setCandles();
    else { drawReadOut(); drawBars(); }
    const begun = data.book.last?.at; // a new bar: the view goes with it, unless it was moved
    if (begun !== lastBegun && !moved) { lastBegun = begun; fitRange(); }
  }
  drawSession();
});
let lastBegun;
data.on("tick", pair => { if (pair === data.pair) drawTape(); drawVerdicts(); });
data.on("status", () => { drawStatus(); drawSession(); });
data.on("safety", drawVerdicts);
data.on("link", () => {
  verdicts.draw(); // at once: a page that hears nothing more calls no pair safe, not for a frame
  everything();
});
data.on("token", why => dialogs.askToken(why));
data.journal.onChange(drawEvents);

for (const button of $("ranges").children) button.addEventListener("click", async () => {
  leaveKnownAt();
  $("to-live").hidden = true;
  remember({ range: button.dataset.range, at: undefined });
  const far = { "1m": 35, "1w": 8, "3d": 6 }[button.dataset.range];
  if (far) await data.backTo(data.now() - far * 86_400_000);
  await setCandles();
  fitRange();
});
$("to-live").addEventListener("click", toLive);
$("as-chart").addEventListener("click", () => showForm(false));
$("as-table").addEventListener("click", () => showForm(true));
$("known-at").addEventListener("input", moveKnownAt);
$("theme").addEventListener("click", changeTheme);
new MutationObserver(() => { colour = colours(); candles?.retheme(); if (candles) setCandles(); heatmap.draw(); drawSession(); }).observe(document.documentElement, { attributeFilter: ["data-theme"] });
addEventListener("resize", eachFrame(() => { heatmap.draw(); drawSession(); if (!moved) fitRange(); }));
document.fonts.ready.then(() => { candles?.retheme(); heatmap.draw(); drawSession(); });
for (const gesture of ["pointerdown", "wheel", "touchstart"]) $("chart").addEventListener(gesture, () => { moved = true; }, { passive: true });
addEventListener("hashchange", () => follow(parseLink(location.hash)));

/** Goes where a link says. */
function follow(wanted) {
  if (wanted.pair) choosePair(data.symbols.find(one => one.symbol === wanted.pair || one.compact === wanted.pair)?.symbol ?? data.pair);
  if (wanted.interval && wanted.interval !== data.interval) data.look(data.pair, wanted.interval);
  if (wanted.range && RANGES[wanted.range]) { link.range = wanted.range; fitRange(); }
  if (wanted.at) goTo(Date.parse(wanted.at));
  if (wanted.event) waitFor(() => data.journal.get(wanted.event), () => showEvent(wanted.event));
  if (wanted.panel) showPanel(wanted.panel);
}
/** An event of a link comes with the history of gaps or with /status: soon, or never. */
function waitFor(found, then, attempts = 20) {
  if (found()) then();
  else if (attempts) setTimeout(() => waitFor(found, then, attempts - 1), 250);
}

async function begin() {
  const wanted = parseLink(location.hash);
  try {
    await data.start(wanted);
  } catch (error) {
    if (error instanceof RestError && error.status === 401) return dialogs.askToken(sessionStorage.getItem("candela.token") ? "The service refused the token" : "");
    put($("stale"), `The service cannot be read: ${error.message}. Trying again.`);
    $("stale").hidden = false;
    setTimeout(begin, 2000);
    return;
  }
  actions.look();
  setInterval(drawClock, 250);
  setInterval(() => { drawVerdicts(); drawTape(); drawSession(); }, 1000);
  follow({ ...wanted, pair: undefined, interval: undefined });
  waitFor(() => data.status, () => heatmap.load(), 240); // it needs the market's date
}

/** For tests and the curious: what the page holds. */
globalThis.candela = { data, get candles() { return candles; }, goTo };
begin();
