// What the page knows: the socket's messages, /status, and history, of all pairs and of the one that is looked at.

import { CandelaClient } from "./candela.js";
import { BarBook, intervalMilliseconds } from "./bars.js";
import { Journal, conditionEvent, gapEvent, serviceEvent } from "./journal.js";
import { RestError, get, socketUrl, token } from "./rest.js";
import { MarketClock, dayAndTime } from "./time.js";
import * as words from "./words.js";

/** Ticks that are kept of the pair that is looked at. */
const TICKS = 600;
/** Bars a page of history. */
const PAGE = 1000;
/** Milliseconds between two looks at /status, while the page is seen and while it is not. */
const LOOK = 2_000, LOOK_HIDDEN = 15_000;

export class Data {
  symbols = [];
  pair = "";
  interval = "5m";
  book = new BarBook();
  ticks = [];
  lastTicks = new Map();
  gaps = new Map();
  sessions = new Map();
  clock = new MarketClock();
  journal = new Journal();
  /** Up to when the service's own journal was read. */
  #told = undefined;
  status;
  health;
  welcome;
  link = { state: "connecting" };
  heard = performance.now();
  olderCursor;
  #listeners = new Map();
  #generation = 0;
  #loading = false;
  #known = {};
  #timer;

  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, []);
    this.#listeners.get(name).push(listener);
  }
  #tell(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) listener(value);
  }

  /** Market time now, in milliseconds; the machine's own before the service has told its. */
  now() {
    return this.clock.known ? this.clock.now(performance.now()) : Date.now();
  }
  get symbol() {
    return this.symbols.find(one => one.symbol === this.pair);
  }
  get zone() {
    return this.symbol?.zone ?? "UTC";
  }
  zoneOf(pair) {
    return this.symbols.find(one => one.symbol === pair)?.zone ?? this.zone;
  }
  get slot() {
    return intervalMilliseconds(this.interval) ?? 300_000;
  }
  /** The socket is up and says something. */
  get live() {
    return this.link.state === "live" && performance.now() - this.heard < ((this.welcome?.heartbeat_seconds ?? 15) * 2 + 5) * 1000;
  }
  gapsOf(pair, interval) {
    return [...this.gaps.values()].filter(gap => gap.symbol === pair && (!interval || gap.interval === interval));
  }

  /** Reads which pairs there are, connects, and goes on until the page is closed. Throws what REST says, as 401. */
  async start(wanted) {
    this.symbols = (await get("market/symbols")).symbols;
    const found = this.symbols.find(one => one.symbol === wanted.pair || one.compact === wanted.pair) ?? this.symbols[0];
    this.client = new CandelaClient({ url: socketUrl(), token: token.get(), backoff: { most: 5_000 } });
    this.client.on("state", state => this.#linked(state));
    this.client.on("message", message => this.#hear(message));
    this.client.on("lost", loss => this.#lost(loss));
    this.client.on("hole", ({ channel, after }) => this.#note("hole", `A message of ${channel} was missing after ${after}: resumed`, "warn"));
    this.client.subscribe(["session:*"], { since: { last: 20 } });
    this.client.subscribe(["quality:*"], { since: { last: 100 } });
    this.look(found.symbol, wanted.interval);
    this.client.start();
    this.#look();
    const again = () => { if (document.visibilityState === "visible") { this.client.retryNow(); this.#look(); } };
    document.addEventListener("visibilitychange", again);
    addEventListener("online", again);
  }

  /** Another token: everything is asked for again with it. */
  useToken(value) {
    token.set(value);
    this.client?.setToken(value);
    this.#look();
  }

  /** Looks at a pair and interval: its ticks and bars are followed whole, those of other pairs sparsely. */
  look(pair, interval) {
    const known = this.symbols.find(one => one.symbol === pair) ?? this.symbols[0];
    const wanted = known.intervals.includes(interval) ? interval : known.intervals.includes("5m") ? "5m" : known.intervals[0];
    if (pair === this.pair && wanted === this.interval) return;
    const ticks = this.symbols.map(one => `ticks:${one.symbol}`), bars = `bars.${this.interval}:${this.pair}`;
    if (this.pair) this.client.unsubscribe([bars, ...(pair === this.pair ? [] : [`ticks:${this.pair}`, `ticks:${pair}`])]);
    const otherPair = pair !== this.pair;
    Object.assign(this, { pair, interval: wanted, book: new BarBook(), olderCursor: undefined });
    this.#generation += 1;
    this.#loading = false;
    if (otherPair) {
      this.ticks = [];
      const sparse = ticks.filter(channel => channel !== `ticks:${pair}`);
      this.client.subscribe([`ticks:${pair}`], { since: { last: 300 } });
      if (sparse.length) this.client.subscribe(sparse, { options: { snapshot: true, max_hz: 2 } });
    }
    // The socket first: what comes while history is read is not missed, and the book takes each bar once.
    this.client.subscribe([`bars.${wanted}:${pair}`], { since: { last: 120 } });
    this.#tell("look");
    this.older();
    this.#readGaps(pair);
  }

  /** The page of history before what is there. */
  async older() {
    if (this.#loading || this.olderCursor === null) return;
    this.#loading = true;
    const generation = this.#generation;
    try {
      const page = await get("market/bars", { symbol: this.pair, interval: this.interval, limit: PAGE, cursor: this.olderCursor });
      if (generation !== this.#generation) return;
      this.olderCursor = page.next_cursor;
      this.book.add(page.bars);
      this.#tell("history");
    } catch (error) {
      this.#failed("History", error);
      setTimeout(() => { if (generation === this.#generation && !this.book.size) this.older(); }, 3_000);
    } finally {
      if (generation === this.#generation) this.#loading = false;
    }
  }

  /** History back to an instant. */
  async backTo(at) {
    for (let pages = 0; pages < 40 && this.olderCursor !== null && (this.book.list[0]?.at ?? Infinity) > at; pages += 1) {
      const before = this.book.size;
      await this.older();
      if (this.book.size === before) break;
    }
  }

  /** The bars of a pair as they were known at an instant, the latest `limit`. */
  async knownAt(at, limit) {
    return (await get("market/bars", { symbol: this.pair, interval: this.interval, limit, as_of: new Date(at).toISOString() })).bars;
  }

  async #readGaps(pair) {
    try {
      for (const gap of (await get("market/gaps", { symbol: pair, limit: 500 })).gaps) this.#gap(gap, Date.parse(gap.opened_at));
      this.#tell("gaps");
    } catch (error) {
      this.#failed("Gaps", error);
    }
  }

  /** The service's own journal: a day at first, later what came since. A token may not open it, and an older service has none. */
  async #readJournal() {
    try {
      const { events } = await get("status/events", { from: this.#told, limit: 10_000 });
      this.#told = events.at(-1)?.at ?? this.#told;
      this.journal.add(...events.map(serviceEvent).filter(Boolean));
    } catch (error) {
      if (error instanceof RestError && [0, 401, 403, 404, 503].includes(error.status)) return;
      this.#failed("The journal", error);
    }
  }

  /** What came while nobody could bring it over the socket is read from the store. */
  async #lost({ channel, why }) {
    this.#note("lost", `${channel} cannot be resumed: ${words.plain(why)}`, "warn");
    if (channel.startsWith("quality:")) return this.#readGaps(channel.slice("quality:".length));
    if (channel !== `bars.${this.interval}:${this.pair}`) return undefined;
    const generation = this.#generation, from = this.book.list.at(-2)?.open_time;
    try {
      const page = await get("market/bars", { symbol: this.pair, interval: this.interval, from, order: "asc", limit: 10_000 });
      if (generation === this.#generation) { this.book.add(page.bars); this.#tell("history"); }
    } catch (error) {
      this.#failed("History", error);
    }
    return undefined;
  }

  /** Bars that were filled in come over the socket as well; those before what it replays are read. */
  async #refill({ interval, from, to }) {
    if (interval !== this.interval || this.book.get(Date.parse(from))) return;
    const generation = this.#generation;
    await new Promise(done => setTimeout(done, 1_000)); // the store is behind the socket
    try {
      const page = await get("market/bars", { symbol: this.pair, interval, from, to, limit: 10_000 });
      if (generation === this.#generation && this.book.add(page.bars).length) this.#tell("history");
    } catch (error) {
      this.#failed("History", error);
    }
  }

  #gap(gap, at) {
    const key = `${gap.symbol} ${gap.id}`, known = this.gaps.get(key);
    const opened = known?.opened !== undefined ? Math.min(known.opened, at) : at;
    const order = ["open", "filling", "unfillable", "filled"];
    if (known && order.indexOf(gap.status) < order.indexOf(known.status)) return;
    this.gaps.set(key, { ...gap, at: Date.parse(gap.from), end: Date.parse(gap.to), opened });
    const from = Date.parse(gap.from), zone = this.zoneOf(gap.symbol);
    this.journal.add(gapEvent(gap, opened, words, dayAndTime(from, this.now(), zone).replace(/^(\d\d:\d\d):\d\d$/, "$1")));
  }

  #note(id, title, tone, detail) {
    const at = this.now();
    this.journal.add({ id: `page.${id}.${Math.round(at)}`, at, kind: "page", title, tone, detail });
  }

  #failed(what, error) {
    if (error instanceof RestError && error.status === 401) this.#tell("token", "the service refused the request");
    else this.#note(`rest.${what}`, `${what} cannot be read: ${error.message}`, "warn");
  }

  #linked(state) {
    const before = this.link.state;
    this.link = { ...state, at: performance.now() };
    if (state.state === "waiting" && before === "live")
      this.#note("closed", "This page lost its connection", "warn", [state.code, state.reason].filter(Boolean).join(" "));
    if (state.state === "refused") {
      this.#note("refused", "The service refused this page", "bad", `${state.code ?? ""} ${state.reason ?? ""}`.trim());
      if ([4501, 4503, 4510].includes(state.code)) this.#tell("token", state.reason);
    }
    this.#tell("link");
  }

  #hear(message) {
    this.heard = performance.now();
    switch (message.type) {
      case "welcome":
        this.welcome = message;
        this.clock.hear(Date.parse(message.server_time), this.heard);
        for (const [pair, session] of Object.entries(message.session ?? {})) this.sessions.set(pair, session);
        this.#open(message.symbols ?? []);
        this.#note("live", "This page is connected", "good");
        break;
      case "heartbeat":
        this.clock.hear(Date.parse(message.server_time), this.heard);
        break;
      case "market_data":
        this.#tick(message.data);
        break;
      case "bar":
        this.#bars([message.data]);
        break;
      case "snapshot":
        if (message.data?.last_tick) this.#tick(message.data.last_tick, true);
        this.#bars([message.data?.last_closed, message.data?.forming].filter(Boolean));
        break;
      case "gap":
        this.#gap(message.data, Date.parse(message.timestamp));
        if (message.data.status === "filled" && message.data.symbol === this.pair) this.#refill(message.data);
        this.#tell("gaps");
        break;
      case "seam":
        this.journal.add({
          id: `seam.${message.data.symbol}.${message.seq}`, at: Date.parse(message.timestamp), kind: "service", pair: message.data.symbol, tone: message.data.missing ? "warn" : "plain",
          title: message.data.missing ? `History and live bars meet with ${words.bars(message.data.missing)} missing` : "History and live bars meet without a gap",
          detail: `History ends with ${message.data.last_history_bar ?? "nothing"}, live bars begin ${message.data.first_live_bar}; ${message.data.differing} of ${message.data.overlapping} bars that both have differ.`,
        });
        break;
      case "session": {
        const { symbol, status, session_date } = message.data;
        this.journal.add({
          id: `session.${symbol}.${session_date}.${status}`, at: Date.parse(message.timestamp), kind: "session", pair: symbol, tone: "plain",
          title: { opening_soon: "The session opens soon", open: "The session opened", closing_soon: "The session closes soon", closed: "The session closed" }[status] ?? `Session ${words.plain(status)}`,
          detail: session_date,
        });
        this.#look();
        break;
      }
      case "status":
        this.#safety(message.safe_to_trade, message.unsafe_reasons, message.conditions);
        this.#look();
        break;
      case "slow":
        this.#note("slow", message.level === "clear" ? "This page keeps up again" : "This page reads too slowly: ticks are conflated", "warn");
        break;
      case "goaway":
        this.#note("goaway", `The service closes; reconnect later: ${words.plain(message.reason)}`, "plain");
        break;
      case "error":
        this.#note(`error.${message.code}`, message.message, "warn", message.name);
        break;
    }
  }

  /** A token may open some pairs only: a subscription that names another one is refused whole. */
  #open(pairs) {
    const closed = this.symbols.filter(one => !pairs.includes(one.symbol));
    if (!closed.length || closed.length === this.symbols.length) return;
    this.client.unsubscribe(closed.flatMap(({ symbol }) => [`ticks:${symbol}`, `bars.${this.interval}:${symbol}`]));
    this.symbols = this.symbols.filter(one => pairs.includes(one.symbol));
    if (!this.symbol) this.look(this.symbols[0].symbol, this.interval);
  }

  #tick(tick, old = false) {
    const received = tick.received_us / 1000, stamp = tick.timestamp * 1000;
    const known = this.lastTicks.get(tick.symbol);
    if (!old || !known) this.lastTicks.set(tick.symbol, { ...tick, received, stamp, before: known?.price });
    if (!old) this.clock.hear(received, this.heard, false);
    if (tick.symbol === this.pair && !(old && this.ticks.length)) {
      this.ticks.push({ ...tick, received, stamp, change: this.ticks.length ? tick.price - this.ticks.at(-1).price : 0, arrived: this.heard });
      if (this.ticks.length > TICKS) this.ticks.splice(0, this.ticks.length - TICKS);
    }
    this.#tell("tick", tick.symbol);
  }

  #bars(bars) {
    const mine = bars.filter(bar => bar.symbol === this.pair && bar.interval === this.interval);
    const taken = this.book.add(mine);
    for (const bar of taken) if (bar.state === "revised") this.journal.add({
      id: `bar.${bar.symbol}.${bar.interval}.${bar.open_time}.${bar.revision}`, at: this.now(), kind: "bar", pair: bar.symbol, tone: "plain",
      title: `The bar of ${bar.open_time.slice(11, 16)} was revised`, detail: `Revision ${bar.revision}, ${words.PROVENANCE[bar.provenance] ?? bar.provenance}`,
    });
    if (taken.length) this.#tell("bars", taken);
  }

  #safety(safe = {}, reasons = {}, conditions) {
    const at = this.now();
    for (const [pair, good] of Object.entries(safe)) {
      const known = this.#known[`safe ${pair}`], text = (reasons[pair] ?? []).join(" ");
      if (known && known.good === good && known.text === text) continue;
      this.#known[`safe ${pair}`] = { good, text, at: known && known.good === good ? known.at : at, seen: known !== undefined };
      if (known && known.good !== good) this.journal.add({
        id: `safe.${pair}.${Math.round(at)}`, at, kind: "service", pair, tone: good ? "good" : "warn",
        title: good ? "Safe to trade" : "Not safe to trade", detail: words.ordered(reasons[pair] ?? []).map(name => words.REASONS[name]?.[0] ?? words.plain(name)).join(", "),
      });
    }
    if (conditions) this.conditions = conditions;
    this.#tell("safety");
  }

  /** Whether a pair is safe to trade, why not, and since when (undefined when this page did not see it begin). */
  safety(pair) {
    const known = this.#known[`safe ${pair}`];
    if (!known) return { safe: undefined, reasons: [] };
    return { safe: known.good, reasons: words.ordered(known.text.split(" ").filter(Boolean)), since: known.seen ? known.at : undefined };
  }

  async #look() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), document.visibilityState === "visible" ? LOOK : LOOK_HIDDEN);
    if (this.#known.looking) return;
    this.#known.looking = true;
    try {
      const [status, health] = await Promise.all([get("status"), get("health")]);
      this.clock.hear(Date.parse(status.timestamp), performance.now());
      this.#compare(status);
      Object.assign(this, { status, health, statusAt: performance.now() });
      for (const [pair, session] of Object.entries(status.sessions ?? {})) this.sessions.set(pair, session);
      for (const gap of status.gaps ?? []) this.#gap(gap, this.now());
      const members = Object.entries(status.symbols ?? {});
      this.#safety(Object.fromEntries(members.map(([pair, one]) => [pair, one.safe_to_trade])), Object.fromEntries(members.map(([pair, one]) => [pair, one.reasons])), status.conditions.filter(one => one.status));
      await this.#readJournal();
      this.#tell("status");
    } catch (error) {
      if (error instanceof RestError && error.status === 401) this.#tell("token", "the token is not valid any more");
      this.#tell("link");
    } finally {
      this.#known.looking = false;
    }
  }

  /** What changed between two looks becomes an event. */
  #compare(status) {
    const { state, feed } = status, before = this.status;
    if (state?.since) this.journal.add({
      id: `state.${state.since_us}`, at: state.since_us / 1000, kind: "service", tone: state.name === "error" ? "bad" : "plain", title: words.STATES[state.name] ?? words.plain(state.name), detail: words.sentence(state.reason),
    });
    if (feed?.since && before?.feed?.connected !== feed.connected) this.journal.add({
      id: `feed.${feed.since_us}`, at: feed.since_us / 1000, kind: "feed", tone: feed.connected ? "good" : "warn", title: `The link to the vendor is ${words.plain(feed.state)}`, detail: `Connection ${feed.connections_total}`,
    });
    this.journal.add(...(status.conditions ?? []).map(conditionEvent));
    for (const [pair, verdict] of Object.entries(status.verdicts ?? {})) if (verdict) this.journal.add({
      id: `verdict.${pair}.${verdict.at}`, at: Date.parse(verdict.at), kind: "service", pair, tone: verdict.complete && verdict.fresh ? "good" : "warn",
      title: verdict.complete && verdict.fresh ? "The history passed its check" : "The history did not pass its check",
      detail: [`${words.number(verdict.present)} of ${words.number(verdict.expected)} bars`, ...(verdict.findings ?? []).map(finding => (typeof finding === "string" ? finding : finding.message ?? ""))].map(text => text.replace(/\.$/, "")).join(". "),
    });
    const at = this.now();
    for (const actor of status.actors ?? []) {
      const known = before?.actors?.find(one => one.name === actor.name);
      if (known && actor.restarts > known.restarts) this.journal.add({ id: `actor.${actor.name}.${actor.restarts}`, at, kind: "service", tone: "bad", title: `${actor.name} was restarted`, detail: actor.last_cause ?? "" });
      if (known && known.alive && !actor.alive) this.journal.add({ id: `actor.${actor.name}.gone.${Math.round(at)}`, at, kind: "service", tone: "bad", title: `${actor.name} does not respond`, detail: actor.last_cause ?? "" });
    }
    for (const one of status.keys ?? []) {
      const known = before?.keys?.find(other => other.id === one.id);
      if (known && known.state !== one.state && ["spent", "retired"].some(state => [known.state, one.state].includes(state)))
        this.journal.add({ id: `key.${one.id}.${Math.round(at)}`, at, kind: "feed", tone: one.state === "ready" ? "good" : "warn", title: `Key ${one.id} is ${words.KEY_STATES[one.state] ?? one.state}` });
    }
  }
}
