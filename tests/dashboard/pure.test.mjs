// The dashboard's pure modules: time, bars, links, events, verdicts.
import assert from "node:assert/strict";
import { test } from "node:test";

const at = name => import(new URL(`../../src/web/assets/dashboard/${name}.js`, import.meta.url));
const { MarketClock, age, clockTime, dayName, duration, instantOf, offsetMinutes, offsetName, parseTime, rfc3339 } = await at("time");
const { BarBook, chartTimes, coverage, emptySlots, intervalMilliseconds, wallSeconds } = await at("bars");
const { formatLink, parseLink } = await at("link");
const { Journal, conditionEvent, gapEvent, serviceEvent } = await at("journal");
const { causeOf, troubles, verdict } = await at("verdict");
const { stretches } = await at("timeline");
const words = await at("words");
const BOGOTA = "America/Bogota";

test("ages are told in the one or two largest units", () => {
  const told = { 0: "0 s", 61_000: "61 s", 180_000: "3 min", 3_900_000: "1 h 5 min", 7_200_000: "2 h", 180_000_000: "2 d 2 h" };
  for (const [passed, text] of Object.entries(told)) assert.equal(duration(Number(passed)), text);
  assert.equal(age(1_000, 1_500), "just now");
  assert.equal(age(1_000, 11_029), "10 s ago");
});

test("wall time, offset and RFC 3339 follow the market's zone, over both changes of the clocks", () => {
  const winter = Date.parse("2025-01-15T13:00:00Z"), summer = Date.parse("2025-07-15T13:00:00Z");
  assert.equal(clockTime(winter, BOGOTA), "08:00:00");
  assert.equal(rfc3339(winter, BOGOTA), "2025-01-15T08:00:00-05:00");
  assert.deepEqual([winter, summer].map(instant => offsetMinutes(instant, "America/New_York")), [-300, -240]);
  assert.deepEqual([offsetName(-300), offsetName(330), offsetName(0)], ["UTC\u22125", "UTC+5:30", "UTC"]);
  const skipped = Date.UTC(2025, 2, 9, 2, 30); // 02:30 is no time of that day in New York
  assert.equal(clockTime(instantOf(skipped, "America/New_York"), "America/New_York"), "03:30:00");
  assert.equal(dayName("2025-10-22"), "Wed 22 Oct");
});

test("a time that a person asks for is read in the market's zone, and nonsense is refused", () => {
  const now = Date.parse("2025-10-22T14:00:00Z");
  assert.equal(parseTime("09:30", now, BOGOTA), Date.parse("2025-10-22T09:30:00-05:00"));
  assert.equal(parseTime("2025-10-21", now, BOGOTA), Date.parse("2025-10-21T00:00:00-05:00"));
  assert.equal(parseTime(" 2025-10-21 8:05 ", now, BOGOTA), Date.parse("2025-10-21T08:05:00-05:00"));
  assert.equal(parseTime("-2h", now, BOGOTA), now - 7_200_000);
  assert.equal(parseTime("2025-10-22T13:10:00Z", now, BOGOTA), Date.parse("2025-10-22T13:10:00Z"));
  for (const nonsense of ["", "25:00", "09:61", "2025-02-30", "soon", "2025-13-01"]) assert.equal(parseTime(nonsense, now, BOGOTA), undefined, nonsense);
});

test("the market's clock runs on between two statements, at the rate that it has", () => {
  const clock = new MarketClock();
  clock.hear(1_000_000, 0);
  assert.equal(clock.now(500), 1_000_500);
  for (let second = 1; second <= 10; second += 1) clock.hear(1_000_000 + second * 100_000, second * 1000);
  assert.equal(Math.round(clock.rate), 100);
  assert.equal(clock.now(10_500), 2_050_000);
});

test("replayed stamps never set the market's clock back, nor make it race", () => {
  const clock = new MarketClock();
  clock.hear(5_000_000, 0);
  for (let tick = 0; tick < 50; tick += 1) clock.hear(4_000_000 + tick * 10_000, 1000 + tick, false);
  clock.hear(5_010_000, 10_000);
  assert.equal(clock.rate, 1);
  assert.equal(clock.now(11_000), 5_011_000);
});

const bar = (time, more = {}) => ({
  symbol: "USD/COP", interval: "5m", open_time: `2025-10-22T${time}:00-05:00`, close_time: `2025-10-22T${time}:00-05:00`, open: 1, high: 2, low: 1, close: 2,
  ticks: 3, state: "closed", revision: 0, provenance: "live", flags: [], session_date: "2025-10-22", ...more,
});

test("each slot has one bar: the higher revision, the closed one, the newer forming one", () => {
  const book = new BarBook();
  book.add([bar("08:05", { state: "partial", ticks: 9 }), bar("08:00")]);
  assert.equal(book.add([bar("08:05", { state: "partial", ticks: 8 })]).length, 0);
  assert.equal(book.add([bar("08:05", { close: 5 })]).length, 1);
  assert.equal(book.add([bar("08:05", { state: "partial", ticks: 20 })]).length, 0);
  book.add([bar("08:00", { state: "revised", revision: 1, close: 7 })]);
  assert.equal(book.add([bar("08:00")]).length, 0);
  assert.deepEqual(book.list.map(one => [one.open_time.slice(11, 16), one.close]), [["08:00", 7], ["08:05", 5]]);
});

test("a bar in the middle that changes is changed in the list as well", () => {
  const book = new BarBook();
  book.add(["08:00", "08:05", "08:10"].map(time => bar(time)));
  assert.equal(book.list[1].close, 2);
  book.add([bar("08:05", { state: "revised", revision: 1, close: 9 })]);
  assert.deepEqual(book.list.map(one => one.close), [2, 9, 2]);
});

test("today's change is measured from the last close of the day before", () => {
  const book = new BarBook();
  book.add([bar("08:00", { session_date: "2025-10-21", close: 40, open_time: "2025-10-21T08:00:00-05:00" }), bar("08:00", { close: 50 })]);
  assert.equal(book.previousClose, 40);
});

test("times of the chart rise even where an hour comes twice", () => {
  assert.deepEqual(chartTimes([10, 20, 10, 15, 40].map(wall => ({ wall }))), [10, 20, 21, 22, 40]);
  assert.equal(wallSeconds("2025-10-22T08:10:00-05:00"), Date.UTC(2025, 9, 22, 8, 10) / 1000);
  assert.deepEqual(["1m", "5m", "1h", "1d", "session"].map(intervalMilliseconds), [60_000, 300_000, 3_600_000, 86_400_000, undefined]);
});

test("what is due of a session, what is there, and what a gap leaves empty", () => {
  const book = new BarBook(), opens = Date.parse("2025-10-22T08:00:00-05:00"), session = { opens, closes: opens + 59 * 300_000, expected: 59 };
  book.add([bar("08:00"), bar("08:10")]);
  const gap = { at: opens + 300_000, end: opens + 600_000, status: "open", cause: "upstream_close_1006" };
  const found = coverage(session, book.list, [gap], opens + 960_000, 300_000);
  assert.deepEqual([found.due, found.present, found.unfillable.length], [3, 2, 0]);
  assert.deepEqual(emptySlots(gap, book, 300_000), [opens + 300_000]);
  const kinds = stretches(session, book, [gap], opens + 960_000, 300_000).map(one => [one.kind, one.bars]);
  assert.deepEqual(kinds, [["live", 1], ["gap", 1], ["live", 1], ["waiting", 1], ["ahead", 55]]);
});

test("a link says the same when it is read again", () => {
  const link = { pair: "USD/COP", range: "1w", at: "2025-10-22T13:10:00Z", event: "gap.USD/COP.g-1" };
  assert.equal(formatLink(link), "#pair=USD/COP&range=1w&at=2025-10-22T13:10:00Z&event=gap.USD/COP.g-1");
  assert.deepEqual(parseLink(formatLink(link)), link);
  assert.deepEqual(parseLink("#nonsense&pair="), {});
  assert.equal(formatLink({}), "");
});

test("a gap is one event that is told better, and conditions come and go", () => {
  const journal = new Journal();
  const gap = { symbol: "USD/COP", id: "g-1", interval: "5m", from: "2025-10-22T08:10:00-05:00", to: "2025-10-22T08:15:00-05:00", bars: 1, cause: "upstream_close_1006" };
  journal.add(gapEvent({ ...gap, status: "open" }, 100, words));
  journal.add(gapEvent({ ...gap, status: "filled" }, 100, words));
  const condition = { type: "feed_down", status: true, message: "The link is down.", since: "2025-10-22T08:12:00-05:00", clears_when: "the link is up" };
  journal.add(conditionEvent(condition), conditionEvent({ ...condition, status: false, since: "2025-10-22T08:13:00-05:00" }));
  assert.deepEqual(journal.find().map(event => event.title), ["Feed down is over", "Feed down", "1 bar missing from 08:10: filled"]);
  assert.deepEqual(journal.find({ text: "closed 1006" }).map(event => event.id), ["gap.USD/COP.g-1"]);
  assert.equal(journal.find({ kinds: ["gap"], pair: "EUR/USD" }).length, 0);
  assert.equal(journal.find({ kinds: ["condition"], pair: "EUR/USD" }).length, 2);
});

test("the journal keeps the newest and no more than its limit", () => {
  const journal = new Journal({ limit: 3 });
  for (let id = 0; id < 10; id += 1) journal.add({ id: String(id), at: id, kind: "gap", title: "x" });
  assert.deepEqual(journal.find().map(event => event.id), ["9", "8", "7"]);
});

const told = { live: true, safe: true, reasons: [], conditions: [], now: 100_000, zone: "UTC", tick: { stamp: 98_000, source: "live" } };

test("a verdict says why not, since when and what ends it, and never safe when the page is stale", () => {
  assert.deepEqual(verdict(told), { tone: "good", word: "Safe to trade", why: "Last tick 2 s ago, live.", more: "" });
  assert.equal(verdict({ ...told, live: false }).word, "Not known");
  const down = verdict({ ...told, safe: false, reasons: ["feed_down", "open_gap"], conditions: [{ type: "feed_down", since: "1970-01-01T00:00:40Z" }] });
  assert.equal(down.tone, "warn");
  assert.equal(verdict({ ...told, safe: false, reasons: ["not_active"], state: "waiting_l0" }).why, "The service is not active yet: it waits for the history.");
  assert.equal(down.why, "There is no link to the vendor, since 00:00:40 (60 s).");
  assert.equal(down.more, "Clears when the link is up, or a poll succeeds. Also: bars of this session are missing.");
});

test("what is wrong is told with its time and its cure, the worst first, in the service's own words", () => {
  const held = [
    { type: "store_behind", status: true, message: "The database does not answer.", since: "1970-01-01T00:00:40Z", clears_when: "it answers", runbook: "/runbooks?name=store_behind" },
    { type: "feed_down", status: true, symbol: "EUR/USD", message: "The link is down.", since: "1970-01-01T00:00:50Z", clears_when: "it is up" },
    { type: "polling", status: false, message: "Prices come by polling.", since: "1970-01-01T00:00:50Z" },
  ];
  const told = troubles(held, 100_000, "UTC");
  assert.deepEqual(told.map(one => [one.name, one.mild, one.message]), [["Feed down EUR/USD", false, "The link is down."], ["Store behind", true, "The database does not answer."]]);
  assert.equal(told[0].more, "Since 00:00:50 (50 s). Clears when it is up.");
});

test("a closed market is no fault, and a holiday is named", () => {
  const closed = verdict({ ...told, safe: false, reasons: ["market_closed"], session: { reason: "All Saints (1 November, moved to Monday)", next_open: "1970-01-01T02:01:40Z" } });
  assert.equal(closed.tone, "plain");
  assert.equal(closed.why, "All Saints (1 November, moved to Monday). Opens 02:01:40, in 2 h.");
});

test("the reason that explains the others comes first", () => {
  assert.deepEqual(words.ordered(["price_overdue", "open_gap", "feed_down"]), ["feed_down", "open_gap", "price_overdue"]);
});

test("causes and prices are told as people say them", () => {
  assert.equal(words.cause("upstream_close_1006"), "the vendor closed the link (1006)");
  assert.equal(words.cause("not_running"), "the service was not running");
  assert.equal(words.price(3888.1, 2), "3,888.10");
  assert.equal(words.decimals([1.0845, 1.08]), 4);
});

test("an entry of the service's journal is an event, and a condition is the same event as on /status", () => {
  const restarted = { position: 7, type: "restarted", at: "2025-10-22T08:13:00-05:00", symbol: null, subject: "feed", cause: "panicked", message: "feed failed and was restarted.", by: null, details: {} };
  const event = serviceEvent(restarted);
  assert.deepEqual([event.id, event.kind, event.tone, event.detail], ["event.7", "service", "bad", "feed failed and was restarted."]);
  const raised = { position: 8, type: "condition_raised", at: "2025-10-22T08:13:00-05:00", symbol: "USD/COP", subject: "feed_silent", cause: "overdue", message: "Overdue.", by: null, details: { clears_when: "a price is accepted" } };
  const condition = { type: "feed_silent", symbol: "USD/COP", status: true, since: "2025-10-22T08:13:00-05:00", message: "Overdue.", clears_when: "a price is accepted" };
  assert.deepEqual(serviceEvent(raised), conditionEvent(condition));
  assert.equal(serviceEvent({ ...restarted, type: "gap" }), undefined);
  assert.equal(serviceEvent({ ...restarted, type: "settings", details: { "server.port": "8080 (flag --port)" } }).detail, "feed failed and was restarted. server.port = 8080 (flag --port)");
  const journal = new Journal();
  journal.add(serviceEvent(raised));
  assert.equal(causeOf([condition], ["price_overdue"], journal), conditionEvent(condition).id);
  assert.equal(causeOf([{ ...condition, since: "2025-10-22T09:00:00-05:00" }], ["feed_silent"], journal), undefined);
});
