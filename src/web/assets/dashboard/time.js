// Instants, zones and ages, as people read them. Pure.

const MINUS = "\u2212"; // the sign, not the hyphen

const formatters = new Map();
function formatter(zone, options) {
  const key = zone + JSON.stringify(options);
  if (!formatters.has(key)) formatters.set(key, new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options }));
  return formatters.get(key);
}

const QUARTER = 900_000; // zones change their offset at a quarter of an hour
const offsets = new Map();

/** Minutes that a zone is ahead of UTC at an instant. */
export function offsetMinutes(at, zone) {
  const quarter = Math.floor(at / QUARTER), key = `${zone} ${quarter}`;
  if (!offsets.has(key)) {
    if (offsets.size > 5_000) offsets.clear();
    const parts = {}, options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" };
    for (const { type, value } of formatter(zone, options).formatToParts(quarter * QUARTER)) parts[type] = Number(value);
    offsets.set(key, (Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute) - quarter * QUARTER) / 60_000);
  }
  return offsets.get(key);
}

/** Wall time of an instant in a zone as milliseconds of a clock without a zone. */
export function wallClock(at, zone) {
  return Math.floor(at / 1000) * 1000 + offsetMinutes(at, zone) * 60_000;
}

/** `UTC−5`, `UTC+5:30`, `UTC`. */
export function offsetName(minutes) {
  if (!minutes) return "UTC";
  const whole = Math.floor(Math.abs(minutes) / 60), rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? MINUS : "+"}${whole}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
}

/** The instant at which a zone's clock shows `wall` (milliseconds without a zone). In an hour that is skipped: the one after it. */
export function instantOf(wall, zone) {
  const guess = wall - offsetMinutes(wall, zone) * 60_000, at = wall - offsetMinutes(guess, zone) * 60_000;
  return wallClock(at, zone) === Math.floor(wall / 1000) * 1000 ? at : Math.max(guess, at);
}

/** RFC 3339 of an instant with the zone's offset. */
export function rfc3339(at, zone) {
  const minutes = offsetMinutes(at, zone), two = number => String(number).padStart(2, "0");
  const wall = new Date(Math.floor(at / 1000) * 1000 + minutes * 60_000).toISOString().slice(0, 19);
  const size = Math.abs(minutes);
  return `${wall}${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

const shown = (at, zone, from, to) => new Date(wallClock(at, zone)).toISOString().slice(from, to);
/** `09:41:07` */
export const clockTime = (at, zone) => shown(at, zone, 11, 19);
/** `09:41` */
export const minuteTime = (at, zone) => shown(at, zone, 11, 16);
/** `2025-10-22` */
export const isoDate = (at, zone) => shown(at, zone, 0, 10);

const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `Wed 22 Oct` of a date `2025-10-22`. */
export function dayName(date) {
  const at = new Date(`${date}T00:00:00Z`);
  return `${WEEKDAYS[at.getUTCDay()]} ${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
}

/** The time, with the day before it unless that is today's. */
export function dayAndTime(at, now, zone) {
  const day = isoDate(at, zone);
  return day === isoDate(now, zone) ? clockTime(at, zone) : `${dayName(day)} ${minuteTime(at, zone)}`;
}

/** How long, in the one or two largest units: `2 s`, `4 min`, `1 h 5 min`, `3 d 2 h`. */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/** `2 s ago`, `just now`. */
export function age(at, now) {
  const passed = now - at;
  return passed < 1000 ? "just now" : `${duration(passed)} ago`;
}

/**
 * What a person asks to go to: `09:30`, `2025-10-22`, `2025-10-22 09:30`, `-2h`, `-30m`, `-3d`, `now`. Instants; undefined for
 * anything else. A time alone is today's in the market's zone.
 */
export function parseTime(text, now, zone) {
  const asked = text.trim().toLowerCase();
  if (asked === "now" || asked === "live") return now;
  const back = /^[-\u2212](\d{1,4})\s*(m|min|h|d)$/.exec(asked);
  if (back) return now - Number(back[1]) * { m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 }[back[2]];
  const time = /^(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(asked);
  if (time) return at(isoDate(now, zone), time.slice(1), zone);
  const day = /^(\d{4}-\d{2}-\d{2})(?:[t ](\d{1,2}):(\d{2})(?::(\d{2}))?)?$/.exec(asked);
  if (day) return at(day[1], [day[2] ?? "0", day[3] ?? "0", day[4]], zone);
  const instant = /^\d{4}-\d{2}-\d{2}t[\d:.]+(z|[-+]\d{2}:\d{2})$/.test(asked) ? Date.parse(asked.toUpperCase()) : NaN;
  return Number.isNaN(instant) ? undefined : instant;
}

function at(date, [hour, minute, second = "0"], zone) {
  const wall = Date.parse(`${date}T00:00:00Z`);
  if (Number.isNaN(wall) || hour > 23 || minute > 59 || second > 59) return undefined;
  if (new Date(wall).toISOString().slice(0, 10) !== date) return undefined; // as 2025-02-30
  return instantOf(wall + ((Number(hour) * 60 + Number(minute)) * 60 + Number(second)) * 1000, zone);
}

/** A demo runs no faster than this; what seems to is a clock that was set. */
const FASTEST = 2_000;

/** The market's time now, from what the service says of it. A demo's runs faster than ours; the rate is measured. */
export class MarketClock {
  #first;
  #last;

  /**
   * The service showed `market` when our steady clock showed `local`, both in milliseconds. `sure`: it says what it is now; else it
   * may be old, as the stamp of a tick that is replayed, and only ever advances the clock.
   */
  hear(market, local, sure = true) {
    if (!Number.isFinite(market)) return;
    if (!this.#last) {
      if (sure) this.#first = this.#last = { market, local };
      return;
    }
    const passed = local - this.#last.local, ahead = market - this.#last.market;
    if (!sure && (ahead < 0 || ahead > 60_000 * Math.max(1, this.rate))) return;
    const settled = this.#last.local - this.#first.local > 5_000, most = settled ? this.rate * 5 + 20 : FASTEST;
    if (sure && (ahead < -2_000 * Math.max(1, this.rate) || ahead > 5_000 + passed * most)) {
      this.#first = this.#last = { market, local }; // another service, or its clock jumped
      return;
    }
    if (ahead < 0) return; // told before, and came later
    this.#last = { market, local };
    if (local - this.#first.local > 60_000) this.#first = { market: market - this.rate * 20_000, local: local - 20_000 };
  }

  get known() {
    return this.#last !== undefined;
  }

  /** Market seconds in a second of ours: 1 unless it is clearly another. */
  get rate() {
    if (!this.#first || this.#last.local - this.#first.local < 6_000) return 1; // what waits in a queue must not count
    const market = this.#last.market - this.#first.market, local = this.#last.local - this.#first.local;
    return (market - 2_000) / local > 2.5 ? market / local : 1; // the service tells whole seconds
  }

  now(local) {
    if (!this.#last) return NaN;
    return this.#last.market + Math.max(0, local - this.#last.local) * this.rate;
  }
}
