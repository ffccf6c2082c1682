// Continuity, back-off and the life of a connection, against a socket that the test is the other end of.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff, CandelaClient, Continuity, afterClose } from "../candela.js";

const TICKS = "ticks:USD/COP";
const subscribed = (seq, more = {}) => ({ type: "subscribed", channels: [{ channel: TICKS, epoch: "e1", seq, ...more }] });
const tick = (seq, from) => ({ type: "market_data", channel: TICKS, seq, ...(from === undefined ? {} : { from }) });

test("messages that follow each other are next, the same one again is a repeat", () => {
  const continuity = new Continuity();
  continuity.hear(subscribed(4));
  assert.equal(continuity.hear(tick(5)).kind, "next");
  assert.equal(continuity.hear(tick(8, 6)).kind, "next");
  assert.equal(continuity.hear(tick(8)).kind, "repeat");
  assert.deepEqual(continuity.position(TICKS), { epoch: "e1", seq: 8 });
});

test("a hole is seen and leaves the position before it", () => {
  const continuity = new Continuity();
  continuity.hear(subscribed(4));
  assert.deepEqual(continuity.hear(tick(7)), { kind: "hole", channel: TICKS, after: 4, before: 7 });
  assert.equal(continuity.position(TICKS).seq, 4);
});

test("a heartbeat and the end of a replay show holes at the end of a log", () => {
  const continuity = new Continuity();
  continuity.hear(subscribed(4));
  assert.equal(continuity.hear({ type: "heartbeat", heads: { [TICKS]: { epoch: "e1", seq: 4 } } }).kind, "next");
  assert.equal(continuity.hear({ type: "heartbeat", heads: { [TICKS]: { epoch: "e1", seq: 5 } } }).kind, "hole");
  assert.equal(continuity.hear({ type: "replay_end", channel: TICKS, seq: 6 }).kind, "hole");
});

test("what the service says it cannot bring is lost and no hole", () => {
  const continuity = new Continuity();
  continuity.hear(subscribed(4));
  assert.equal(continuity.hear({ type: "skipped", channel: TICKS, from: 5, seq: 9, why: "expired" }).kind, "lost");
  assert.equal(continuity.hear(tick(10)).kind, "next");
  const fresh = { type: "discontinuity", channel: TICKS, old_epoch: "e1", epoch: "e2", seq: 0, why: "renumbered" };
  assert.equal(continuity.hear(fresh).kind, "lost");
  assert.equal(continuity.hear(tick(1)).kind, "next");
  assert.equal(continuity.position(TICKS).epoch, "e2");
});

test("a resume goes on from the position, and one that is refused is lost and begins anew", () => {
  const continuity = new Continuity();
  continuity.hear(subscribed(4));
  assert.equal(continuity.hear(subscribed(7, { recovered: true, replayed: 3 })).kind, "next");
  assert.equal(continuity.hear(tick(6)).kind, "hole");
  assert.equal(continuity.hear(tick(5)).kind, "next");
  const refused = continuity.hear(subscribed(90, { recovered: false, reason: "position_expired" }));
  assert.deepEqual(refused, { kind: "lost", losses: [{ channel: TICKS, why: "position_expired" }] });
  assert.equal(continuity.hear(tick(91)).kind, "next");
});

test("a replay that was asked for by time begins where the service begins it", () => {
  const continuity = new Continuity();
  continuity.hear(subscribed(70, { recovered: true, replayed: 2 }));
  assert.equal(continuity.hear(tick(69)).kind, "next");
  assert.equal(continuity.hear(tick(70)).kind, "next");
});

test("forming bars and snapshots move no position", () => {
  const continuity = new Continuity();
  continuity.hear(subscribed(4));
  assert.equal(continuity.hear({ type: "bar", channel: TICKS, base: 4, version: 3 }).kind, "next");
  assert.equal(continuity.hear({ type: "snapshot", channel: TICKS, seq: 9 }).kind, "next");
  assert.equal(continuity.position(TICKS).seq, 4);
});

test("waits double up to the most, and lose up to half at random", () => {
  const longest = new Backoff({ first: 100, most: 1000, random: () => 0 });
  assert.deepEqual([1, 2, 3, 4, 5].map(() => longest.next()), [100, 200, 400, 800, 1000]);
  longest.reset();
  assert.equal(longest.next(), 100);
  assert.equal(new Backoff({ first: 100, most: 1000, random: () => 1 }).next(), 50);
});

test("goaway names the delay, and closes that ask for a change are final", () => {
  assert.deepEqual(afterClose(1012, { reconnect_after_ms: 700 }), { retry: true, delay: 700 });
  for (const code of [1001, 1006, 1011, 1012, 1013, 4003, 4008, 4010, 4011, 4029]) assert.ok(afterClose(code).retry, code);
  for (const code of [1000, 1002, 1003, 1007, 1009, 4501, 4503, 4510]) assert.ok(!afterClose(code).retry, code);
});

/** A client, the sockets it made, and a clock that runs when it is told to. */
function staged(options = {}) {
  const sockets = [], timers = [];
  let now = 0;
  class Socket {
    constructor(url, protocols) {
      Object.assign(this, { url: String(url), protocols, readyState: 1, sent: [] });
      sockets.push(this);
    }
    send(text) { this.sent.push(JSON.parse(text)); }
    close(code) { this.readyState = 3; this.closed_with = code; }
    say(message) { this.onmessage({ data: JSON.stringify(message) }); }
    end(code, reason = "") { this.readyState = 3; this.onclose({ code, reason }); }
  }
  const client = new CandelaClient({
    url: "ws://host/prefix/ws?x=1", WebSocket: Socket, backoff: { random: () => 0 },
    timers: {
      setTimeout: (work, delay) => { timers.push({ at: now + delay, work }); return timers.at(-1); },
      clearTimeout: timer => { const index = timers.indexOf(timer); if (index >= 0) timers.splice(index, 1); },
    },
    ...options,
  });
  const seen = [];
  for (const name of ["message", "lost", "hole", "state"]) client.on(name, value => seen.push([name, value]));
  const run = milliseconds => {
    now += milliseconds;
    for (const timer of timers.filter(timer => timer.at <= now)) { timers.splice(timers.indexOf(timer), 1); timer.work(); }
  };
  return { client, sockets, seen, run };
}
const welcome = { type: "welcome", heartbeat_seconds: 15 };
const of = (seen, name) => seen.filter(([kind]) => kind === name).map(([, value]) => value);

test("a client that was cut off resumes from its position", () => {
  const { client, sockets, seen, run } = staged();
  client.subscribe([TICKS], { since: { last: 10 } });
  client.start();
  assert.equal(sockets[0].url, "ws://host/prefix/ws?channels=status");
  sockets[0].say(welcome);
  assert.deepEqual(sockets[0].sent[0].since, { [TICKS]: { last: 10 } });
  sockets[0].say(subscribed(4, { recovered: true, replayed: 0 }));
  sockets[0].say(tick(5));
  sockets[0].end(1006);
  assert.deepEqual(of(seen, "state").at(-1), { state: "waiting", code: 1006, reason: "", retryIn: 250 });
  run(250);
  sockets[1].say(welcome);
  assert.deepEqual(sockets[1].sent[0].since, { [TICKS]: { epoch: "e1", seq: 5 } });
});

test("nothing behind a hole is delivered before a resume has filled it", () => {
  const { client, sockets, seen, run } = staged();
  client.subscribe([TICKS]);
  client.start();
  sockets[0].say(welcome);
  sockets[0].say(subscribed(4));
  sockets[0].say(tick(6));
  assert.equal(sockets[0].closed_with, 4000);
  assert.equal(of(seen, "hole").length, 1);
  run(250);
  sockets[1].say(welcome);
  sockets[1].say(subscribed(6, { recovered: true, replayed: 2 }));
  sockets[1].say(tick(5));
  sockets[1].say(tick(6));
  const ticks = of(seen, "message").filter(message => message.type === "market_data");
  assert.deepEqual(ticks.map(message => message.seq), [5, 6]);
});

test("a hole that the service repeats is told as lost and not tried for ever", () => {
  const { client, sockets, seen, run } = staged();
  client.subscribe([TICKS]);
  client.start();
  for (let attempt = 0; attempt < 4; attempt += 1) {
    sockets.at(-1).say(welcome);
    sockets.at(-1).say(subscribed(attempt ? 6 : 4, attempt ? { recovered: true, replayed: 2 } : {}));
    sockets.at(-1).say(tick(6));
    run(20_000);
  }
  assert.deepEqual(of(seen, "lost"), [{ channel: TICKS, why: "hole" }]);
  assert.equal(of(seen, "message").filter(message => message.type === "market_data").length, 1);
});

test("goaway decides when to come back", () => {
  const { client, sockets, seen, run } = staged();
  client.start();
  sockets[0].say(welcome);
  sockets[0].say({ type: "goaway", reason: "restarting", reconnect_after_ms: 3000 });
  sockets[0].end(1012);
  assert.equal(of(seen, "state").at(-1).retryIn, 3000);
  run(2999);
  assert.equal(sockets.length, 1);
  run(1);
  assert.equal(sockets.length, 2);
});

test("a token is sent as a subprotocol, and one that is refused is not tried again", () => {
  const { client, sockets, seen, run } = staged({ token: "secret" });
  client.start();
  assert.deepEqual(sockets[0].protocols, ["candela.v1", "bearer.secret"]);
  sockets[0].end(4501, "the token is not valid");
  assert.equal(client.state, "refused");
  run(60_000);
  assert.equal(sockets.length, 1);
  client.setToken("better");
  assert.deepEqual(sockets[1].protocols, ["candela.v1", "bearer.better"]);
  assert.equal(of(seen, "state").at(-1).state, "connecting");
});

test("a service that falls silent is left and asked again", () => {
  const { client, sockets, run } = staged();
  client.start();
  sockets[0].say(welcome);
  run(34_999);
  assert.equal(sockets[0].readyState, 1);
  run(1);
  assert.equal(sockets[0].closed_with, 4000);
  run(250);
  assert.equal(sockets.length, 2);
});

test("channels that a handler of welcome chooses are asked for once, in place of those before", () => {
  const { client, sockets } = staged();
  client.subscribe(["ticks:EUR/USD"]);
  client.on("message", message => {
    if (message.type !== "welcome") return;
    client.unsubscribe(["ticks:EUR/USD"]);
    client.subscribe([TICKS]);
  });
  client.start();
  sockets[0].say(welcome);
  assert.deepEqual(sockets[0].sent.map(({ action, channels }) => [action, channels]), [["subscribe", [TICKS]]]);
});
