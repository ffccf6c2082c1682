// The panels that show /status in parts: feed, keys, pipeline, clients, actors, reconciliation, service, cluster.

import { $, fill, make, put, row } from "./dom.js";
import { age, clockTime, dayAndTime, duration } from "./time.js";
import * as words from "./words.js";

const fact = (name, value, { tone, wide } = {}) => [make("dt", { text: name, class: wide ? "hidden" : "" }), make("dd", { class: [tone ? `${tone}-text` : "", wide ? "wide" : ""].join(" ").trim() }, ...[value].flat())];
const small = text => make("small", { text });
const facts = (id, ...list) => fill($(id), list.flat());
const state = (text, tone = "") => make("span", { class: `state ${tone}`, text });
function meter(part, whole, name) {
  const share = whole ? Math.min(1, part / whole) : 0, inner = make("i");
  inner.style.width = `${Math.round(share * 100)}%`;
  return make("span", { class: `meter ${share > .85 ? "warn" : ""}`, attributes: { role: "img", "aria-label": `${name}: ${part} of ${whole}` } }, inner);
}

/** The middle and the largest of some numbers. */
export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? { middle: sorted[sorted.length >> 1], most: sorted.at(-1) } : undefined;
}
const seconds = milliseconds => (milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : milliseconds < 10_000 ? `${(milliseconds / 1000).toFixed(1)} s` : duration(milliseconds));

export function tape(data) {
  const now = data.now(), decimals = words.decimals(data.ticks.slice(-40).map(tick => tick.price)), last = data.ticks.at(-1);
  put($("tape-note"), last ? `Last tick ${age(last.stamp, now)}` : "no tick yet");
  const signed = value => (Math.abs(value) < 1e-9 ? "0" : `${value > 0 ? "+" : "\u2212"}${Math.abs(value).toFixed(decimals)}`);
  $("tape").classList.toggle("quoted", data.ticks.some(tick => tick.spread));
  fill($("tape-rows"), data.ticks.slice(-40).reverse().map(tick => row([
    { text: clockTime(tick.stamp, data.zone), class: "text soft" }, words.price(tick.price, decimals),
    { text: signed(tick.change), class: tick.change > 0 ? "up" : tick.change < 0 ? "down" : "soft" },
    { text: tick.spread ? tick.spread : "–", class: "soft spread" }, { text: words.PROVENANCE[tick.source] ?? tick.source, class: "text soft" },
  ])));
}

export function feed(data) {
  const { status } = data, now = data.now();
  if (!status) return;
  const { feed: link } = status, mine = status.symbols?.[data.pair] ?? {}, recent = data.ticks.slice(-60);
  const gaps = recent.slice(1).map((tick, index) => tick.received - recent[index].received).filter(value => value >= 0);
  const cadence = spread(gaps), lag = spread(recent.map(tick => tick.received - tick.stamp)), habit = mine.cadence?.gap_p99_seconds;
  const rejected = Object.entries(mine.rejected ?? {});
  put($("feed-note"), data.pair);
  facts("feed-facts",
    fact("Link", state(words.plain(link.state), link.connected ? "" : "warn")),
    fact("Since", link.since_us ? [dayAndTime(link.since_us / 1000, now, data.zone), " ", small(duration(now - link.since_us / 1000))] : "–"),
    fact("Last frame", link.last_message_age_ms === null ? "–" : `${seconds(link.last_message_age_ms)} ago`),
    fact("Between ticks, now", cadence ? [seconds(cadence.middle), " ", small(`up to ${seconds(cadence.most)}`)] : "–"),
    fact("Habit, 99 % within", habit ? duration(habit * 1000) : "not known yet", { tone: mine.cadence?.silent || mine.cadence?.suspect ? "warn" : undefined }),
    fact("Stamp to arrival", lag ? [seconds(lag.middle), " ", small(`up to ${seconds(lag.most)}`)] : "–"),
    fact("Connections", words.number(link.connections_total)),
    fact("Set aside", rejected.length ? rejected.map(([name, count]) => `${words.plain(name)} ${words.number(count)}`).join(", ") : "none", { tone: rejected.length ? "warn" : undefined }));
}

export function keys(data) {
  const { status } = data;
  if (!status) return;
  const list = status.keys ?? [], usable = list.filter(key => key.state === "ready" || key.state === "spacing").length;
  put($("keys-note"), `${usable} of ${list.length} can be used`);
  const until = key => (key.until ? ` until ${key.until.slice(11, 16)}` : "");
  fill($("keys-rows"), list.map(key => row([
    { node: make("span", {}, key.id.split(" ")[0], " ", make("small", { class: "soft", text: key.id.split(" ").slice(1).join(" ") }), key.of_link ? make("small", { class: "soft", text: " link" }) : ""), class: "text" },
    { node: state(`${words.KEY_STATES[key.state] ?? key.state}${until(key)}`, { ready: "", spacing: "", cooling: "warn", spent: "warn", retired: "bad" }[key.state] ?? ""), class: "text" },
    words.number(key.used_minute), words.number(key.used_day), { node: meter(key.used_day, key.used_day + key.left_day, "Calls today") },
  ])));
  const { forecast } = status;
  const polled = forecast?.polled?.length ? ` Polls ${forecast.polled.join(", ")} each ${Math.round(forecast.every_seconds)} s.` : "";
  put($("keys-forecast"), forecast ? `By the close today will have cost ${words.number(forecast.used + forecast.expected)} of ${words.number(forecast.used + forecast.available)} calls: ${forecast.fits ? "it fits" : "it does not fit"}.${polled}` : "");
  $("keys-forecast").classList.toggle("warn-text", forecast?.fits === false);
}

export function pipeline(data) {
  const { status, health } = data;
  if (!status) return;
  const readers = status.readers ?? [], head = Math.max(0, ...readers.map(reader => reader.position + reader.distance));
  put($("pipeline-note"), `ledger at ${words.number(head)}`);
  fill($("pipeline-rows"), readers.map(reader => row([
    { node: make("span", {}, reader.name, " ", make("small", { class: "soft", text: reader.kind ?? "" }), reader.trouble ? make("small", { class: "warn-text", text: ` ${typeof reader.trouble === "string" ? words.plain(reader.trouble) : reader.trouble.message ?? words.plain(reader.trouble.reason)}` }) : ""), class: "text" },
    words.number(reader.position), { text: words.number(reader.distance), class: reader.distance > 1000 ? "warn-text" : "" }, reader.age_ms ? seconds(reader.age_ms) : "–",
  ])));
  const answers = one => (one?.connected ? [state(one.response_time_ms === null ? "answers" : `${one.response_time_ms < 1 ? "under 1" : Math.round(one.response_time_ms)} ms`)] : [state("no answer", "bad")]);
  const rejected = readers.reduce((sum, reader) => sum + (reader.rejected_total ?? 0), 0), machine = health?.system_resources;
  facts("pipeline-facts",
    health ? fact("Database", answers(health.connectivity.database)) : [], health ? fact("Cache", answers(health.connectivity.redis)) : [],
    fact("Rows set aside", words.number(rejected), { tone: rejected ? "warn" : undefined }),
    fact("Log lines lost", words.number(status.log?.lines_lost_total ?? 0), { tone: status.log?.lines_lost_total ? "warn" : undefined }),
    machine ? fact("Disk", [`${machine.disk_free_gb} GB free`, " ", small(`${machine.disk_percent} % used`)], { tone: machine.disk_percent > 92 ? "warn" : undefined }) : []);
}

export function clients(data) {
  const { status } = data;
  if (!status) return;
  const { clients: now, websocket_connections: all } = status, closed = Object.entries(now.evicted_total ?? {}).sort((a, b) => b[1] - a[1]);
  put($("clients-note"), "this page is one of them");
  facts("clients-facts",
    fact("Connected", make("span", { class: "big", text: words.number(now.connected) })),
    fact("Slow", words.number(now.conflating), { tone: now.conflating ? "warn" : undefined }),
    fact("Since the start", words.number(all?.total_connections)), fact("Messages sent", words.number(all?.messages_sent)),
    ...Object.entries(all?.connections_by_symbol ?? {}).map(([pair, count]) => fact(`Of ${pair} alone`, words.number(count))),
    ...(closed.length ? closed.map(([reason, count]) => fact(`Closed: ${words.plain(reason)}`, words.number(count))) : [fact("Closed by us", "none")]));
}

export function actors(data) {
  const list = data.status?.actors;
  if (!list) return;
  const ill = list.filter(actor => !actor.alive || actor.restarts), restarts = list.reduce((sum, actor) => sum + actor.restarts, 0);
  put($("actors-note"), ill.length ? `${list.filter(actor => !actor.alive).length} not alive, ${restarts} restart${restarts === 1 ? "" : "s"}` : `all ${list.length} alive, no restart`);
  fill($("actor-list"), list.map(actor => {
    const tone = !actor.alive ? "bad" : actor.restarts ? "warn" : "";
    const about = [actor.standing === "alive" ? "" : words.plain(actor.standing), actor.restarts ? `${actor.restarts} restart${actor.restarts === 1 ? "" : "s"}` : "", actor.last_cause ?? "", `mailbox ${words.number(actor.mailbox)}`].filter(Boolean).join(" · ");
    return make("li", { class: tone }, make("b", { class: `state ${tone}`, text: words.plain(actor.name) }), make("small", { text: about, title: about }));
  }));
}

/** What a node lacks of the cluster log, and for how long. */
export const behind = node => (node.lag_parcels ? `${words.number(node.lag_parcels)} (${seconds(node.lag_ms)})` : "–");
const SILENT = 5_000, STANDS = { active: "", ready: "", market_closed: "", error: "bad" };

/** The nodes of the cluster; a single node has no such panel. */
export function cluster(data) {
  const own = data.status?.cluster;
  $("cluster").hidden = !own;
  if (!own) return;
  put($("cluster-note"), `this node ${words.ROLES[own.role] ?? words.plain(own.role)}, term ${words.number(own.term)}`);
  fill($("cluster-rows"), own.nodes.map(node => {
    const silent = node.age_ms > SILENT, about = node.conditions.map(words.plain).join(", "), mine = node.id === own.id ? " · this one" : "";
    return row([
      { node: make("span", {}, node.address ?? node.host, " ", make("small", { class: "soft", text: `${silent ? "former " : ""}${words.plain(node.role)}${mine}` })), class: "text" },
      { node: make("span", {}, state(silent ? "no report" : words.STATES[node.state] ?? words.plain(node.state), silent ? "bad" : STANDS[node.state] ?? "warn"), about ? make("small", { class: "warn-text", text: ` ${about}` }) : ""), class: "text" },
      words.number(node.term), { text: behind(node), class: node.lag_ms > SILENT ? "warn-text" : "" }, { text: `${seconds(node.age_ms)} ago`, class: silent ? "warn-text" : "soft" },
    ]);
  }));
  const heard = own.nodes.filter(node => node.age_ms <= SILENT), leads = heard.some(node => node.role === "leader"), standbys = heard.filter(node => node.role === "standby").length;
  facts("cluster-facts",
    fact("Cluster log", own.trouble ? state(own.trouble, "bad") : state("answers")),
    own.role === "leader" ? fact("Clients receive", own.alone ? "what the cluster log lacks too" : "what the cluster log has", { tone: own.alone ? "warn" : undefined })
      : fact("Last report of the leader", own.leader_age_ms === null ? "not yet" : `${seconds(own.leader_age_ms)} ago`, { tone: own.leader_age_ms === null || own.leader_age_ms > SILENT ? "warn" : undefined }),
    fact("Standbys", standbys ? words.number(standbys) : leads ? "none: no node takes over" : "none", { tone: standbys ? undefined : "warn" }));
}

export function reconciliation(data) {
  const all = data.status?.comparisons;
  if (!all) return;
  const mine = all.pairs?.[data.pair] ?? all, flagged = data.book.list.filter(bar => bar.flags?.includes("vendor_mismatch")), seam = data.status.seams?.[data.pair];
  put($("reconciliation-note"), data.pair);
  facts("reconciliation-facts",
    fact("Compared with the vendor", words.bars(mine.bars ?? 0)),
    fact("Differ", [make("span", { class: "big", text: words.number(mine.mismatched ?? 0) }), " ", small(mine.bars ? `${(mine.mismatched / mine.bars * 100).toFixed(1)} %` : "")], { tone: mine.mismatched ? "warn" : undefined }),
    flagged.length ? fact("Newest that differs", flagged.at(-1).open_time.slice(0, 16).replace("T", " ")) : [],
    seam ? fact("Seam with the history", seam.missing ? `${words.bars(seam.missing)} missing` : "no bar missing", { tone: seam.missing ? "warn" : undefined }) : [],
    seam ? fact("Both have, differ", `${seam.differing ?? 0} of ${seam.overlapping ?? 0}`) : []);
}

export function service(data) {
  const { status, health, welcome } = data, info = health?.service_info;
  if (!status || !info) return;
  const verdict = status.verdicts?.[data.pair], now = data.now();
  put($("service-note"), `version ${info.version}`);
  facts("service-facts",
    fact("State", state(words.STATES[status.state.name] ?? words.plain(status.state.name), status.state.name === "error" ? "bad" : status.conditions.some(one => one.status) ? "warn" : "")),
    fact("Since", status.state.since_us ? [dayAndTime(status.state.since_us / 1000, now, data.zone), " ", small(duration(now - status.state.since_us / 1000))] : "–"),
    fact("Up for", duration(info.uptime_seconds * 1000)),
    status.leader === undefined ? [] : fact("Role", words.ROLES[status.cluster?.role] ?? (status.leader ? "leads" : "stands by")),
    verdict ? fact("History", [`${words.number(verdict.present)} of ${words.number(verdict.expected)} bars`, " ", small(verdict.complete && verdict.fresh ? "passed" : "not passed")], { tone: verdict.complete && verdict.fresh ? undefined : "warn" }) : [],
    fact("Intervals", data.symbol?.intervals.join(", ") ?? "–"), fact("Zone", data.zone),
    welcome ? fact("Heartbeat", `${welcome.heartbeat_seconds} s`) : [],
    ...Object.entries(status.settings ?? {}).map(([name, value]) => fact(name, typeof value === "object" && value ? [String(value.value), " ", small(value.origin ?? "")] : String(value))));
}
