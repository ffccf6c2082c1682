// The bars of one pair and interval: merged from the socket and from /market/bars, each slot once. Pure.

const RANK = { partial: 0, closed: 1, revised: 2 };

/** Whether `bar` takes the place of `known`: a higher revision, a closed one for a forming one, a newer forming one. */
export function replaces(bar, known) {
  if (!known) return true;
  if (bar.revision !== known.revision) return bar.revision > known.revision && bar.state !== "partial";
  if (bar.state === "partial" && known.state === "partial") return (bar.ticks ?? 0) >= (known.ticks ?? 0);
  if (known.provenance !== bar.provenance && known.state !== "partial" && bar.state !== "partial") return known.provenance === "l0";
  return RANK[bar.state] >= RANK[known.state];
}

export class BarBook {
  #bars = new Map();
  #sorted;

  /** The bars that were taken, those that change nothing left out. */
  add(bars) {
    const taken = [];
    for (const bar of bars) {
      const at = Date.parse(bar.open_time);
      if (!replaces(bar, this.#bars.get(at))) continue;
      const fresh = !this.#bars.has(at);
      this.#bars.set(at, { ...bar, at, end: Date.parse(bar.close_time) });
      if (fresh) this.#sorted = undefined;
      else if (this.#sorted) this.#sorted[this.#index(at)] = this.#bars.get(at);
      taken.push(this.#bars.get(at));
    }
    return taken;
  }

  clear() {
    this.#bars.clear();
    this.#sorted = undefined;
  }

  /** All of them, the earliest first. */
  get list() {
    this.#sorted ??= [...this.#bars.values()].sort((a, b) => a.at - b.at);
    return this.#sorted;
  }

  get size() {
    return this.#bars.size;
  }

  get(at) {
    return this.#bars.get(at);
  }

  get last() {
    return this.list.at(-1);
  }

  /** The last bar before the day of the last one: what today's change is measured by. */
  get previousClose() {
    const last = this.last;
    return last && this.list.findLast(bar => bar.session_date !== last.session_date && bar.state !== "partial")?.close;
  }

  #index(at) {
    let low = 0, high = this.#sorted.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#sorted[middle].at < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The slots of a gap that have no bar. */
export function emptySlots(gap, book, milliseconds) {
  const slots = [];
  for (let at = gap.at; at < gap.end && slots.length < 2000; at += milliseconds) if (!book.get(at)) slots.push(at);
  return slots;
}

/**
 * The time that the chart shows for a bar: the market's wall time as seconds without a zone (the chart knows no zones). Where clocks
 * are set back an hour comes twice: the second one is squeezed behind the first, so that times still rise.
 */
export function chartTimes(items) {
  let last = -Infinity;
  return items.map(item => {
    last = Math.max(item.wall, last + 1);
    return last;
  });
}

/** Seconds of the wall time of an instant that the service wrote, such as `2025-10-22T08:10:00-05:00`. */
export function wallSeconds(text) {
  return Date.parse(`${text.slice(0, 19)}Z`) / 1000;
}

/** Milliseconds of an interval's name; undefined for those that are not a fixed time (session). */
export function intervalMilliseconds(name) {
  const found = /^(\d+)(m|h|d)$/.exec(name);
  return found ? Number(found[1]) * { m: 60_000, h: 3_600_000, d: 86_400_000 }[found[2]] : undefined;
}

/** Bars of a session that are there, of those that should be by now. */
export function coverage(session, bars, gaps, now, milliseconds) {
  const until = Math.min(now, session.closes);
  const due = Math.max(0, Math.floor((until - session.opens) / milliseconds));
  const present = bars.filter(bar => bar.at >= session.opens && bar.at < session.closes && bar.state !== "partial").length;
  const unfillable = gaps.filter(gap => gap.status === "unfillable" && gap.at < session.closes && gap.end > session.opens);
  return { due: Math.max(present, Math.min(due, session.expected || due)), present, unfillable }; // a bar may be here before our clock says so
}
