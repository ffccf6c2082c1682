// The event journal: what happened, with cause and time, from several sources, filtered. Pure but for its listeners.
//
// A source puts events in; where they come from does not matter to the list: they are what the socket, /status, /market/gaps and the
// service's own journal (/status/events) tell.

/**
 * An event: `{id, at, kind, pair?, title, detail?, tone}`. `id` is stable over reloads where the service gives one (gaps, conditions,
 * sessions), so that a link to it still works. `tone` is `good`, `warn`, `bad` or `plain`.
 */
export class Journal {
  #events = new Map();
  #listeners = new Set();
  #sorted = [];

  constructor({ limit = 2000 } = {}) {
    this.limit = limit;
  }

  /** The same id again is the same event, told better. */
  add(...events) {
    let changed = false;
    for (const event of events) {
      const known = this.#events.get(event.id);
      if (known && known.title === event.title && known.detail === event.detail && known.at === event.at) continue;
      this.#events.set(event.id, event);
      changed = true;
    }
    if (!changed) return;
    this.#sorted = [...this.#events.values()].sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1));
    for (const dropped of this.#sorted.splice(this.limit)) this.#events.delete(dropped.id);
    for (const listener of this.#listeners) listener();
  }

  onChange(listener) {
    this.#listeners.add(listener);
  }

  get(id) {
    return this.#events.get(id);
  }

  /** The latest first: of these kinds (none means all), of this pair or of none, with every word of `text`. */
  find({ kinds = [], pair, text = "", from = -Infinity, to = Infinity } = {}) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return this.#sorted.filter(event => {
      if (kinds.length && !kinds.includes(event.kind)) return false;
      if (pair && event.pair && event.pair !== pair) return false;
      if (event.at < from || event.at > to) return false;
      if (!words.length) return true;
      const whole = `${event.id} ${event.kind} ${event.pair ?? ""} ${event.title} ${event.detail ?? ""}`.toLowerCase();
      return words.every(word => whole.includes(word));
    });
  }
}

/** A condition that came, or that is over: its `since` is the instant of the change. */
export function conditionEvent(condition) {
  const at = Date.parse(condition.since), where = condition.symbol ? `${condition.symbol}.` : "";
  const name = condition.type.replaceAll("_", " "), title = name[0].toUpperCase() + name.slice(1);
  const event = { id: `condition.${where}${condition.type}.${at}`, at, kind: "condition", pair: condition.symbol };
  if (!condition.status) return { ...event, id: `${event.id}.over`, title: `${title} is over`, tone: "good" };
  const clears = condition.clears_when && `Clears when ${condition.clears_when}.`;
  return { ...event, title, tone: "warn", detail: [condition.message, clears].filter(Boolean).join(" ") };
}

const SERVICE_TITLES = {
  started: "The service started", settings: "Settings in force", gate: "The ready flag", restarted: "A part was restarted", gave_up: "A part failed too often",
  key: "A key changed", action: "An operator acted", left_out: "Entries were left out",
};

/** An entry of the service's journal; undefined for what other sources tell as well (states, gaps, sessions, seams, link, verdicts). */
export function serviceEvent(entry) {
  if (entry.type === "condition_raised" || entry.type === "condition_cleared")
    return conditionEvent({ type: entry.subject, symbol: entry.symbol ?? undefined, status: entry.type === "condition_raised", since: entry.at, message: entry.message, clears_when: entry.details?.clears_when });
  const title = SERVICE_TITLES[entry.type];
  if (!title) return undefined;
  const tone = { restarted: "bad", gave_up: "bad", left_out: "warn", key: entry.cause === "usable" ? "good" : "warn", gate: entry.cause === "flag_good" ? "good" : "warn" }[entry.type] ?? "plain";
  const settings = entry.type === "settings" ? Object.entries(entry.details ?? {}).map(([name, value]) => `${name} = ${value}`).join("; ") : "";
  const detail = [entry.by ? `${entry.by}: ${entry.message}` : entry.message, settings].filter(Boolean).join(" ");
  return { id: `event.${entry.position}`, at: Date.parse(entry.at), kind: "service", pair: entry.symbol ?? undefined, title, detail, tone };
}

/** A gap, whole, each time its status changes: one event that is told better. `at` is when it was opened. */
export function gapEvent(gap, at, words, from = gap.from.slice(11, 16)) {
  const tone = { open: "bad", filling: "warn", filled: "good", unfillable: "plain" }[gap.status] ?? "plain";
  return {
    id: `gap.${gap.symbol}.${gap.id}`, at, kind: "gap", pair: gap.symbol, tone,
    title: `${words.bars(gap.bars)} missing from ${from}: ${gap.status}`,
    detail: `${gap.id}, ${gap.interval}, ${gap.from.slice(0, 16).replace("T", " ")} to ${gap.to.slice(0, 16).replace("T", " ")}: ${words.cause(gap.cause)}`,
  };
}
