// A client of candela.v1, the WebSocket protocol of docs/api.md: connects, subscribes, checks continuity, resumes, backs off.
//
// One file without a dependency, an ES module for browsers and Node (README.md beside it). The dashboard of the service is
// built on this very file.

/** The subprotocol that the service answers. */
export const PROTOCOL = "candela.v1";

/** Close codes after which a new connection would end the same way: somebody has to change something first. */
const FINAL_CLOSES = new Set([1000, 1002, 1003, 1007, 1009, 4501, 4503, 4510]);

/** Message types that have a `seq` and yet are no part of a channel's log. */
const OUTSIDE_THE_LOG = new Set(["snapshot", "replay_end"]);

/**
 * The position in each channel's log, and whether a message continues it.
 *
 * A numbered message covers `[from, seq]`; the next one must begin at `seq + 1`, or the service has said `skipped` or
 * `discontinuity` in its place. Pure: no socket, no clock.
 */
export class Continuity {
  #positions = new Map();

  /** `{epoch, seq}` of a channel; undefined before the first answer of the service. */
  position(channel) {
    return this.#positions.get(channel);
  }

  /** Forgets a channel: the next subscription begins anew. */
  forget(channel) {
    this.#positions.delete(channel);
  }

  /** The channels that are known and whose name begins so: those that a `*` stands for. */
  under(prefix) {
    return [...this.#positions.keys()].filter(channel => channel.startsWith(prefix));
  }

  /** All positions, to be kept and given back to `restore`. */
  export() {
    return Object.fromEntries(this.#positions);
  }

  /** Goes on from kept positions. */
  restore(positions) {
    for (const [channel, position] of Object.entries(positions)) this.#positions.set(channel, position);
  }

  /**
   * What a message means for its channel: `{kind}` is one of
   * - `next`: it continues the log, or has no number (forming bars, answers, status)
   * - `repeat`: it was here before
   * - `hole`: messages are missing before it; the position stays where it was, so that a resume brings them
   * - `lost`: the service says itself that messages cannot be brought; `{channel, why}` for each in `losses`
   */
  hear(message) {
    if (message.type === "subscribed") return this.#subscribed(message);
    if (message.type === "heartbeat") return this.#heads(message.heads ?? {});
    const { channel, seq } = message;
    if (channel === undefined || seq === undefined || message.type === "snapshot") return { kind: "next" };
    const known = this.#positions.get(channel);
    if (message.type === "replay_end") {
      if (known?.seq !== undefined && known.seq < seq) return hole(channel, known.seq, seq + 1);
      this.#positions.set(channel, { epoch: known?.epoch, seq: Math.max(known?.seq ?? 0, seq) });
      return { kind: "next" };
    }
    if (message.type === "discontinuity") {
      this.#positions.set(channel, { epoch: message.epoch, seq });
      return { kind: "lost", losses: [{ channel, why: message.why }] };
    }
    if (message.type === "skipped") {
      this.#positions.set(channel, { epoch: known?.epoch, seq });
      return { kind: "lost", losses: [{ channel, why: message.why }] };
    }
    const from = message.from ?? seq;
    if (known?.seq !== undefined) {
      if (seq <= known.seq) return { kind: "repeat" };
      if (from > known.seq + 1) return hole(channel, known.seq, from);
    }
    this.#positions.set(channel, { epoch: known?.epoch, seq });
    return { kind: "next" };
  }

  /** Accepts that what is missing before this message will not come: the last resort against a service that repeats a hole. */
  giveUp(message) {
    const head = message.channel === undefined ? message.heads ?? {} : { [message.channel]: message };
    for (const [channel, { seq }] of Object.entries(head)) {
      const known = this.#positions.get(channel);
      if (known) this.#positions.set(channel, { epoch: known.epoch, seq: Math.max(known.seq ?? 0, seq) });
    }
  }

  #subscribed(message) {
    const losses = [];
    for (const { channel, epoch, seq, recovered, reason, error, message: text } of message.channels ?? []) {
      if (error || seq === undefined) {
        if (error) losses.push({ channel, why: text ?? error });
        continue; // the channel has no log (status), or was refused
      }
      const known = this.#positions.get(channel);
      if (recovered === true) {
        // The replay follows: it continues our position, or begins where we asked.
        this.#positions.set(channel, { epoch, seq: known?.epoch === epoch ? known.seq : undefined });
      } else {
        if (known) losses.push({ channel, why: reason ?? "not resumed" });
        this.#positions.set(channel, { epoch, seq });
      }
    }
    return losses.length ? { kind: "lost", losses } : { kind: "next" };
  }

  #heads(heads) {
    for (const [channel, { seq }] of Object.entries(heads)) {
      const known = this.#positions.get(channel);
      if (known?.seq !== undefined && known.seq < seq) return hole(channel, known.seq, seq + 1);
    }
    return { kind: "next" };
  }
}

function hole(channel, after, before) {
  return { kind: "hole", channel, after, before };
}

/** How long to wait before the next attempt: doubles from `first` to `most` milliseconds, less up to half of it at random. */
export class Backoff {
  #attempt = 0;

  constructor({ first = 250, most = 15_000, random = Math.random } = {}) {
    Object.assign(this, { first, most, random });
  }

  next() {
    const whole = Math.min(this.most, this.first * 2 ** this.#attempt);
    this.#attempt += 1;
    return whole * (1 - this.random() / 2);
  }

  reset() {
    this.#attempt = 0;
  }
}

/** What `goaway` and a close code ask for: `{retry, delay}`; a delay of undefined is the back-off's. */
export function afterClose(code, goaway) {
  if (goaway) return { retry: true, delay: goaway.reconnect_after_ms ?? 0 };
  return { retry: !FINAL_CLOSES.has(code), delay: undefined };
}

/**
 * Follows channels over disconnects and restarts of the service.
 *
 * Events (`client.on(name, handler)`, which returns a function that removes the handler):
 * - `state` `{state, code?, reason?, retryIn?}`: `connecting`, `live`, `waiting` (for the next attempt), `refused` (a person must
 *   change something, such as the token), `stopped`
 * - `message`: each message of the service that is new, parsed
 * - `lost` `{channel, why}`: messages that will never come; read the history over REST
 * - `hole` `{channel, after, before}`: a message was missing; the client resumes before anything after it is delivered
 */
export class CandelaClient {
  #handlers = new Map();
  #wanted = new Map();
  #continuity = new Continuity();
  #socket;
  #timer;
  #watchdog;
  #goaway;
  #silence;
  #state = "stopped";
  #welcomed = false;
  #nextId = 1;
  #repeatedHole = { at: "", times: 0 };

  /**
   * @param {object} options
   * @param {string|URL} options.url  `ws://…/ws`; the query string is this client's own
   * @param {string} [options.token]  sent as the subprotocol `bearer.<token>`
   * @param {typeof WebSocket} [options.WebSocket]  another implementation, as of the package `ws`
   * @param {object} [options.positions]  kept positions, as `positions` returns them
   * @param {object} [options.backoff]  `{first, most}` in milliseconds
   * @param {object} [options.timers]  `{setTimeout, clearTimeout, now}`, for tests
   */
  constructor({ url, token, WebSocket = globalThis.WebSocket, positions = {}, backoff = {}, timers = {} }) {
    this.url = new URL(url);
    this.url.search = "?channels=status"; // everything else is asked for with its position
    this.token = token;
    this.WebSocket = WebSocket;
    this.timers = {
      setTimeout: (work, delay) => setTimeout(work, delay),
      clearTimeout: timer => clearTimeout(timer),
      now: () => performance.now(),
      ...timers,
    };
    this.backoff = new Backoff(backoff);
    this.#continuity.restore(positions);
  }

  /** `connecting`, `live`, `waiting`, `refused` or `stopped`. */
  get state() {
    return this.#state;
  }

  /** `{channel: {epoch, seq}}`: what to keep, so that a later process goes on from there. */
  get positions() {
    return this.#continuity.export();
  }

  on(name, handler) {
    if (!this.#handlers.has(name)) this.#handlers.set(name, new Set());
    this.#handlers.get(name).add(handler);
    return () => this.#handlers.get(name).delete(handler);
  }

  #emit(name, value) {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) {
      try {
        handler(value);
      } catch (error) {
        // A handler's mistake must not end the connection, nor stay unseen.
        if (globalThis.reportError) globalThis.reportError(error);
        else queueMicrotask(() => { throw error; });
      }
    }
  }

  start() {
    if (this.#state === "stopped" || this.#state === "refused") this.#connect();
  }

  /** Closes the connection. `start` resumes. */
  stop() {
    this.#drop(1000, "the client stops");
    this.#enter({ state: "stopped" });
  }

  /** Ends a wait at once, as when the network is back or the page is looked at again. */
  retryNow() {
    if (this.#state === "waiting") this.#connect();
  }

  /** Another token; the connection is made anew. */
  setToken(token) {
    this.token = token;
    this.#drop(1000, "another token");
    this.#connect();
  }

  /**
   * Follows channels. `since` is where they begin the first time: a position, `{time}`, `{last}` or `"session_start"`. After that
   * each goes on where it was. `status` is followed anyhow.
   */
  subscribe(channels, { since, options = { snapshot: true } } = {}) {
    for (const channel of channels) this.#wanted.set(channel, { since, options });
    if (this.#welcomed) this.#ask(channels);
  }

  unsubscribe(channels) {
    for (const channel of channels) {
      this.#wanted.delete(channel);
      const names = channel.endsWith(":*") ? this.#continuity.under(channel.slice(0, -1)) : [channel];
      for (const name of names) this.#continuity.forget(name);
    }
    if (this.#welcomed && channels.length) this.#send({ action: "unsubscribe", id: this.#nextId++, channels });
  }

  #send(message) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #ask(channels) {
    const groups = new Map(); // one request for each set of options
    for (const channel of channels) {
      const { since, options } = this.#wanted.get(channel);
      const key = JSON.stringify(options);
      if (!groups.has(key)) groups.set(key, { options, channels: [], since: {} });
      const group = groups.get(key);
      group.channels.push(channel);
      const names = channel.endsWith(":*") ? this.#continuity.under(channel.slice(0, -1)) : [channel];
      const known = names.filter(name => this.#continuity.position(name)?.seq !== undefined);
      for (const name of known) group.since[name] = this.#continuity.position(name);
      if (!known.length && since !== undefined) group.since[channel] = since;
    }
    for (const { options, channels: names, since } of groups.values())
      this.#send({ action: "subscribe", id: this.#nextId++, channels: names, since, options });
  }

  #enter(state) {
    this.#state = state.state;
    this.#emit("state", state);
  }

  #connect() {
    this.timers.clearTimeout(this.#timer);
    this.#welcomed = false;
    this.#goaway = undefined;
    this.#enter({ state: "connecting" });
    const protocols = this.token ? [PROTOCOL, `bearer.${this.token}`] : [PROTOCOL];
    let socket;
    try {
      socket = new this.WebSocket(this.url, protocols);
    } catch (error) {
      this.#enter({ state: "refused", reason: `no connection can be made: ${error.message}` });
      return;
    }
    this.#socket = socket;
    socket.onmessage = event => { if (socket === this.#socket) this.#hear(event.data); };
    socket.onerror = () => {}; // the close that follows says what there is to say
    socket.onclose = event => { if (socket === this.#socket) this.#closed(event); };
    this.#watch(15_000);
  }

  /** Closes and forgets the socket: what it still says is not heard. */
  #drop(code, reason) {
    this.timers.clearTimeout(this.#timer);
    this.timers.clearTimeout(this.#watchdog);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#welcomed = false;
    if (socket && socket.readyState < 2) socket.close(code, reason);
  }

  /** A service that says nothing for longer than its heartbeats allow is away, whatever the socket believes. */
  #watch(silence) {
    this.#silence = silence;
    this.timers.clearTimeout(this.#watchdog);
    this.#watchdog = this.timers.setTimeout(() => {
      this.#drop(4000, "no heartbeat");
      this.#wait({ code: 1006, reason: "no heartbeat" });
    }, silence);
  }

  #hear(text) {
    const message = JSON.parse(text);
    this.#watch(this.#silence);
    const heard = this.#continuity.hear(message);
    if (heard.kind === "repeat") return;
    if (heard.kind === "hole" && !this.#accept(heard, message)) return;
    switch (message.type) {
      case "welcome":
        this.#watch((message.heartbeat_seconds ?? 15) * 2000 + 5000);
        break;
      case "subscribed":
        this.backoff.reset();
        break;
      case "goaway":
        this.#goaway = message;
        break;
    }
    for (const loss of heard.losses ?? []) this.#emit("lost", loss);
    this.#emit("message", message);
    if (message.type !== "welcome" || this.#socket === undefined) return;
    this.#welcomed = true; // a handler of `welcome` may have chosen other channels: they are asked for now
    this.#ask([...this.#wanted.keys()]);
    this.#enter({ state: "live" });
  }

  /** Resumes instead of going on behind a hole. A hole that three resumes did not fill is told as lost: then it is accepted. */
  #accept(heard, message) {
    const at = `${heard.channel} ${heard.after}`;
    this.#repeatedHole = { at, times: this.#repeatedHole.at === at ? this.#repeatedHole.times + 1 : 1 };
    if (this.#repeatedHole.times > 3) {
      this.#continuity.giveUp(message);
      this.#emit("lost", { channel: heard.channel, why: "hole" });
      return true;
    }
    this.#emit("hole", heard);
    this.#drop(4000, "a message is missing");
    this.#wait({ code: 4000, reason: `a message of ${heard.channel} is missing after ${heard.after}` });
    return false;
  }

  #closed({ code, reason }) {
    this.timers.clearTimeout(this.#watchdog);
    this.#socket = undefined;
    this.#welcomed = false;
    const { retry, delay } = afterClose(code, this.#goaway);
    if (retry) this.#wait({ code, reason, delay });
    else this.#enter({ state: "refused", code, reason });
  }

  #wait({ code, reason, delay }) {
    const retryIn = delay ?? this.backoff.next();
    this.#timer = this.timers.setTimeout(() => this.#connect(), retryIn);
    this.#enter({ state: "waiting", code, reason, retryIn });
  }
}
