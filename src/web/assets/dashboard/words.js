// What the service's names mean, in plain sentences. Pure. docs/api.md and docs/operations.md hold the same tables.

/** Each reason not to trade: what it means, and when it ends. */
export const REASONS = {
  market_closed: ["The market is closed", "the session opens"],
  not_active: ["The service is not active yet", "the service is active"],
  history_unverified: ["The history is not verified", "a good ready flag is there and the history passes its check"],
  feed_down: ["There is no link to the vendor", "the link is up, or a poll succeeds"],
  line_unconfirmed: ["The vendor has not confirmed this pair", "the vendor confirms it, or a poll succeeds"],
  symbol_refused: ["The vendor refuses this pair", "the vendor confirms it, or a poll succeeds"],
  no_accepted_price: ["No price of this session yet", "a price is accepted"],
  price_overdue: ["No price has come for longer than usual", "a price is accepted"],
  ticks_rejected: ["The newest prices were set aside", "a price is accepted"],
  stamps_lagging: ["Stamps are too far from the machine's clock", "a price is received with a good stamp"],
  feed_frozen: ["The price has not moved for suspiciously long", "a different price is received"],
  feed_rate_collapsed: ["Far fewer prices come than usual", "prices are received as often as usual"],
  open_gap: ["Bars of this session are missing", "the missing bars were received, or the vendor has none"],
  actor_unresponsive: ["A part of the service does not respond", "every part responds again"],
  clock_stepped: ["The machine's clock jumped", "it has been steady for a minute"],
  clock_skewed: ["The machine's clock and the vendor's differ", "both agree again"],
  ledger_unwritable: ["The ledger cannot be written", "its disk can be written again"],
  status_unknown: ["The service's status is not known", "the service publishes it again"],
};

/** Conditions with which live data is good all the same: told after the others. */
export const MILD = [
  "store_ahead", "ledger_renumbered", "calendar_file_wrong", "polling", "store_behind", "cache_down", "stream_disturbed", "log_lines_lost",
];

/** Several reasons hold at once; the one that explains the others comes first. */
const FIRST = [
  "market_closed", "not_active", "actor_unresponsive", "status_unknown", "ledger_unwritable", "clock_stepped", "clock_skewed", "feed_down", "symbol_refused",
  "line_unconfirmed", "history_unverified", "open_gap",
];
export function ordered(reasons) {
  const place = name => (FIRST.indexOf(name) + FIRST.length + 1) % (FIRST.length + 1);
  return [...reasons].sort((a, b) => place(a) - place(b));
}

export const plain = name => String(name ?? "").replaceAll("_", " ");
export const sentence = text => (text ? text[0].toUpperCase() + text.slice(1) : "");

export const STATES = {
  initializing: "Starting", waiting_l0: "Waits for the history", checking_data: "Checks the history", ready: "Ready for the open",
  active: "Active", market_closed: "Market closed", error: "In error", shutdown: "Stopping",
};

export const ROLES = { leader: "leads", standby: "stands by", edge: "is an edge" };

export const PROVENANCE = { live: "live", polled: "polled", backfill: "backfilled", l0: "history", mixed: "live and polled" };

export const FLAGS = {
  late_start: "watched from the middle on", feed_gap: "the feed was down for part of it", no_ticks: "no tick came",
  vendor_mismatch: "differs from the vendor's bar", partial_session: "the session was cut",
};

export const KEY_STATES = { ready: "ready", spacing: "spacing", cooling: "cooling", spent: "spent for today", retired: "retired" };

/** The cause of a gap, and the evidence that may follow it. */
export function cause(text) {
  const [name, ...evidence] = String(text ?? "").split(/[;:,] ?/);
  const close = /^upstream_close_(\d+)$/.exec(name);
  const known = {
    no_ticks: "no trade: prices before and after prove it", no_accepted_price: "no accepted price", not_running: "the service was not running",
    process_paused: "the process was paused", clock_stepped: "the clock jumped",
  };
  const first = close ? `the vendor closed the link (${close[1]})` : known[name] ?? plain(name);
  return evidence.length ? `${first}; ${plain(evidence.join(", "))}` : first;
}

export const bars = count => `${count} bar${count === 1 ? "" : "s"}`;

const many = new Intl.NumberFormat("en-US");
export const number = value => (value === undefined || value === null ? "–" : many.format(value));

const priced = new Map(); // a formatter costs more than all that it formats
/** A price with the decimals that the pair is quoted in. */
export function price(value, decimals) {
  if (value === undefined || value === null) return "–";
  if (!priced.has(decimals)) priced.set(decimals, new Intl.NumberFormat("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: Math.max(decimals, 6) }));
  return priced.get(decimals).format(value);
}

/** Decimals that the prices of a pair have, by those seen so far. */
export function decimals(values) {
  let most = 0;
  for (const value of values) most = Math.max(most, (String(value).split(".")[1] ?? "").length);
  return Math.min(6, Math.max(2, most));
}
