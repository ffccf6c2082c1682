// Can I trade on this now: one line a pair, why not, since when, and what ends it.

import { $, fill, make, put } from "./dom.js";
import { age, dayAndTime, dayName, duration, isoDate, minuteTime } from "./time.js";
import { conditionEvent } from "./journal.js";
import * as words from "./words.js";

/** The sentence of a pair. `tone` is good, warn, bad or plain. Pure. */
export function verdict({ live, safe, reasons, since, conditions, session, tick, now, zone, state }) {
  if (!live) return { tone: "warn", word: "Not known", why: "This page receives nothing from the service.", more: "What is shown was received last and may be old." };
  if (safe === undefined) return { tone: "plain", word: "Not known yet", why: "The service has not reported it yet.", more: "" };
  const ticked = tick ? `Last tick ${age(tick.stamp, now)}` : "No tick yet";
  if (safe) return { tone: "good", word: "Safe to trade", why: `${ticked}, ${words.PROVENANCE[tick?.source] ?? "live"}.`, more: "" };
  if (reasons[0] === "market_closed" && reasons.length <= 2) return { tone: "plain", word: "Market closed", why: closed(session, now, zone), more: tick ? `${ticked}.` : "" };
  const [first, ...others] = reasons, [named, ends] = words.REASONS[first] ?? [words.plain(first), ""];
  const meaning = first === "not_active" && words.STATES[state] ? `${named}: ${words.STATES[state].toLowerCase().replace(/^(?=waits|checks)/, "it ")}` : named;
  const condition = conditions.find(one => one.type === first), begun = condition ? Date.parse(condition.since) : since;
  const parts = [`${meaning}${begun ? `, since ${dayAndTime(begun, now, zone)} (${duration(now - begun)})` : ""}.`];
  const rest = others.filter(name => name !== "market_closed").map(name => (words.REASONS[name]?.[0] ?? words.plain(name)).toLowerCase());
  const more = [ends && `Clears when ${ends}.`, rest.length ? `Also: ${rest.join("; ")}.` : ""].filter(Boolean).join(" ");
  return { tone: state === "error" ? "bad" : "warn", word: "Not safe to trade", why: parts[0], more };
}

/** What holds, the worst first: what is wrong, since when, and what ends it, in the service's own words. Pure. */
export function troubles(conditions, now, zone) {
  const place = one => words.MILD.indexOf(one.type) + 1;
  return conditions.filter(one => one.status !== false).sort((a, b) => place(a) - place(b)).map(one => {
    const since = Date.parse(one.since), name = words.plain(one.type);
    return {
      name: `${words.sentence(name)}${one.symbol ? ` ${one.symbol}` : ""}`, mild: place(one) > 0, message: one.message, runbook: one.runbook,
      more: `Since ${dayAndTime(since, now, zone)} (${duration(now - since)}). ${one.clears_when ? `Clears when ${one.clears_when}.` : ""}`.trim(),
    };
  });
}

function closed(session, now, zone) {
  if (!session) return "No session now.";
  const reason = session.reason && session.reason !== "business day" ? `${words.sentence(session.reason)}. ` : "";
  const next = session.next_session_start ?? session.next_open ?? session.opens;
  const at = next && Date.parse(next);
  return at && at > now ? `${reason}Opens ${dayAndTime(at, now, zone)}, in ${duration(at - now)}.` : `${reason}The session is over.`;
}

function sessionNote(session, now) {
  if (!session) return ["", ""];
  const end = session.current_session_end ?? session.closes;
  if (session.status === "open" && end) return [`Open until ${end.slice(11, 16)}`, `${duration(Date.parse(end) - now)} to go`];
  return ["Closed", session.session_date ? dayName(session.session_date) : ""];
}

export class Verdicts {
  constructor(data, onPick, linkTo) {
    Object.assign(this, { data, onPick, linkTo, lines: new Map() });
    $("verdict-list").addEventListener("click", event => {
      const name = event.target.closest("[data-pair]")?.dataset.pair;
      if (name) onPick(name);
    });
  }

  /** The line of a pair, made once: what does not change keeps its focus and is not read out again. */
  #line(pair) {
    if (!this.lines.has(pair)) {
      const line = Object.fromEntries(["feed", "more", "left"].map(name => [name, make("small")]));
      for (const name of ["price", "measured", "quoted", "word", "why", "until"]) line[name] = make(name === "word" ? "div" : name === "until" ? "b" : "span", { class: name });
      line.event = make("a", { text: "Its event", attributes: { "aria-label": `The event that made ${pair} unsafe to trade` } });
      line.event.hidden = true;
      line.name = make("button", { class: "name", type: "button", data: { pair } }, pair, line.feed);
      line.root = make("li", {}, line.name,
        make("div", { class: "quote" }, line.price, make("small", {}, line.measured, line.quoted)),
        make("div", { class: "judged" }, line.word, make("div", {}, line.why, " ", line.more, " ", line.event)),
        make("div", { class: "until" }, line.until, line.left));
      line.more.className = "more";
      this.lines.set(pair, line);
    }
    return this.lines.get(pair);
  }

  draw() {
    const { data } = this, now = data.now(), list = $("verdict-list");
    const roots = data.symbols.map(({ symbol: pair, zone }) => {
      const tick = data.lastTicks.get(pair), session = data.sessions.get(pair), { safe, reasons, since } = data.safety(pair);
      const conditions = (data.conditions ?? []).filter(one => !one.symbol || one.symbol === pair);
      const said = verdict({ live: data.live, safe, reasons, since, conditions, session, tick, now, zone, state: data.status?.state?.name });
      const mine = pair === data.pair ? data.book : undefined, previous = mine?.previousClose, decimals = this.decimals(tick, mine);
      const change = previous && tick ? tick.price - previous : undefined, [until, left] = sessionNote(session, now);
      const direction = session?.status !== "open" || !tick || tick.before === undefined || tick.before === tick.price ? "" : tick.price > tick.before ? "up" : "down";
      const sign = change > 0 ? "+" : "\u2212", line = this.#line(pair);
      line.root.className = `verdict ${said.tone}`;
      line.name.setAttribute("aria-pressed", String(pair === data.pair));
      line.price.className = `price ${direction}`;
      line.measured.className = change >= 0 ? "up" : "down";
      put(line.feed, feedWord(data.status?.symbols?.[pair]?.feed));
      put(line.price, words.price(tick?.price, decimals));
      put(line.measured, change === undefined ? "" : `${sign}${Math.abs(change).toFixed(decimals)} (${sign}${Math.abs(change / previous * 100).toFixed(2)} %)`);
      put(line.quoted, tick?.bid ? ` bid ${tick.bid} · ask ${tick.ask}` : "\u00a0");
      put(line.word, said.word);
      put(line.why, said.why);
      put(line.more, said.more);
      const event = said.tone === "good" || said.tone === "plain" ? undefined : causeOf(conditions, reasons, data.journal);
      line.event.hidden = !event;
      if (event) line.event.href = this.linkTo(event);
      put(line.until, until);
      put(line.left, left);
      return line.root;
    });
    this.#drawTroubles(now);
    if (roots.length !== list.children.length || roots.some((root, index) => root !== list.children[index])) list.replaceChildren(...roots);
  }

  #drawTroubles(now) {
    const { data } = this, held = data.live ? troubles(data.conditions ?? [], now, data.zone) : [];
    $("troubles").hidden = !held.length;
    fill($("trouble-list"), held.map(one => make("li", { class: one.mild ? "mild" : "" }, make("b", { text: one.name }), make("p", {}, one.message, " ", make("span", { class: "more", text: one.more }), " ",
      one.runbook ? make("a", { text: "What to do", attributes: { href: one.runbook.replace(/^\//, ""), "aria-label": `What to do about ${one.name}` } }) : ""))));
  }

  decimals(tick, book) {
    return words.decimals([tick?.price ?? 0, ...(book?.list.slice(-20).map(bar => bar.close) ?? [])]);
  }
}

/** The id of the event of the condition behind the first reason, where the journal has it. Pure. */
export function causeOf(conditions, reasons, journal) {
  const held = conditions.filter(one => one.status !== false);
  const cause = held.find(one => one.type === reasons[0]) ?? held[0];
  const id = cause && conditionEvent({ ...cause, status: true }).id;
  return id && journal.get(id) ? id : undefined;
}

const feedWord = feed => ({ live: "live", polled: "polled", stale: "stale", down: "feed down", closed: "closed" })[feed] ?? "\u00a0";
