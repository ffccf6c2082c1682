// The dashboard in headless Chromium during a demo: what it shows, what it asks of whom, and a service that is killed meanwhile.
//
//     node page.mjs CANDELA FOLDER      CANDELA: the binary; FOLDER: holds node_modules with playwright-core and axe-core, takes pictures
//
// Prints a line for each thing that holds; the first that does not ends it with code 1.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [binary, home] = process.argv.slice(2), require = createRequire(`${home}/`);
const { chromium } = require("playwright-core"), axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const pictures = join(home, "pictures"), work = mkdtempSync(join(tmpdir(), "candela-page-")), children = new Set();
mkdirSync(pictures, { recursive: true });
process.on("exit", () => { for (const child of children) child.kill("SIGKILL"); rmSync(work, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }); });

const began = Date.now(), holds = text => console.log(`${((Date.now() - began) / 1000).toFixed(1)} s: ${text}`);
const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
async function until(what, look, patience = 60_000) {
  const end = Date.now() + patience;
  for (let last; ; await pause(100)) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited ${patience / 1000} s for ${what}${last ? `: ${last.message}` : ""}`);
  }
}
/** Ports that are free, held at one time so that they differ. */
async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise(done => { const server = net.createServer().listen(0, "127.0.0.1", () => done(server)); })));
  const ports = servers.map(server => server.address().port);
  await Promise.all(servers.map(server => new Promise(done => server.close(done))));
  return ports;
}

/** candela with these arguments, killed with this script. */
function candela(args, env = {}) {
  const child = spawn(binary, args, { cwd: work, env: { PATH: "/usr/local/bin:/usr/bin:/bin", ...env }, stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  child.text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", data => { child.text = (child.text + data).slice(-20_000); });
  child.ended = new Promise(done => child.on("exit", code => { children.delete(child); done(code); }));
  return child;
}

/** A proxy that serves another server under /prefix, as an operator's would. */
function prefixed(port) {
  const server = http.createServer((request, response) => {
    if (!request.url.startsWith("/prefix/")) return response.writeHead(404).end();
    const asked = http.request({ port, host: "127.0.0.1", path: request.url.slice(7), method: request.method, headers: request.headers }, answer => { response.writeHead(answer.statusCode, answer.headers); answer.pipe(response); });
    asked.on("error", () => response.destroy());
    return request.pipe(asked);
  });
  server.on("upgrade", (request, socket) => {
    const to = net.connect(port, "127.0.0.1", () => {
      const lines = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}`);
      to.write(`GET ${request.url.slice(7)} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      socket.pipe(to).pipe(socket);
    });
    for (const end of [to, socket]) end.on("error", () => { to.destroy(); socket.destroy(); });
  });
  return new Promise(done => server.listen(0, "127.0.0.1", () => done(server)));
}

const chrome = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-accelerated-2d-canvas", "--disable-dev-shm-usage"] });

/** A page whose console, errors and requests are watched. */
async function watched(options, url) {
  const context = await chrome.newContext(options), page = await context.newPage();
  const seen = { errors: [], hosts: new Set(), away: false, bytes: 0 };
  page.on("console", message => { if (message.type() === "error" && !seen.away) seen.errors.push(message.text()); });
  page.on("pageerror", error => seen.errors.push(String(error.stack)));
  page.on("request", request => seen.hosts.add(new URL(request.url()).host));
  page.on("websocket", socket => seen.hosts.add(new URL(socket.url()).host));
  if (url) await page.goto(url);
  return { context, page, seen };
}
const text = (page, id) => page.locator(`#${id}`).textContent();

async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 4).map(node => `${node.target} ${node.any[0]?.message ?? ""}`).join(" | ")}`);
  assert.deepEqual(told, [], `axe-core, ${what}`);
}

async function demo(port) {
  const data = join(work, "demo"), calm = join(work, "calm.txt"), outage = join(work, "outage.txt");
  writeFileSync(calm, "# nothing goes wrong\n");
  // The link goes down with its first price, and nothing can be asked for from then on: a gap that stays open.
  writeFileSync(outage, "on price drop 1006\non price refuse upgrades 503\non price rest status 500\n");
  const start = scenario => candela(["demo", "--port", String(port), "--speed", "60", "--seed", "7", "--data", data, "--scenario", scenario, "--for", "170s"]);
  let service = start(calm);
  const root = `http://127.0.0.1:${port}`, rest = async path => (await fetch(`${root}/${path}`)).json();
  await until("the demo to listen", async () => (await fetch(`${root}/health/live`)).ok);
  // which days these are depends on the scenario: the session that the demo plays, and the last one of its history
  const today = await until("a session", async () => (await rest("market/session")).session_date);
  const before = await until("history", async () => (await rest("market/bars?symbol=USDCOP&interval=5m&limit=1")).bars[0].session_date);
  assert.ok(before < today, `history ends on ${before}, the session is ${today}`);

  // first paint with an empty cache; a machine that is busy is measured by what a text alone needs there
  const painted = async path => {
    const { context, page } = await watched({ viewport: { width: 1280, height: 800 } }, `${root}/${path}`);
    const at = await until("the first paint", () => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime));
    await context.close();
    return at;
  };
  const paints = [], plain = [], allowed = () => 300 * Math.max(1, Math.min(...plain) / 80); // a quiet machine paints a text in 80 ms
  while (paints.length < 3 && !(Math.min(...paints) < allowed())) {
    plain.push(await painted("assets/licences.txt"));
    paints.push(await painted(""));
  }
  assert.ok(Math.min(...paints) < allowed(), `first paint after ${paints.map(Math.round)} ms, of a text alone after ${plain.map(Math.round)} ms`);
  holds(`the first paint comes after ${Math.round(Math.min(...paints))} ms, that of a text alone after ${Math.round(Math.min(...plain))} ms`);

  const { page, seen } = await watched({ viewport: { width: 1280, height: 900 }, colorScheme: "dark" }, `${root}/#pair=USD/COP`);
  await until("the page to be live", async () => (await text(page, "link")) === "Live");
  await until("the chart to be loaded", () => page.evaluate(() => globalThis.candela.candles?.shown().length > 0));
  const entries = await page.evaluate(() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].map(one => [new URL(one.name).pathname, one.encodedBodySize]));
  const loaded = new Map(); // a file that was preloaded may be listed twice
  for (const [path, bytes] of entries) if (path === "/" || path.startsWith("/assets/")) loaded.set(path, Math.max(bytes, loaded.get(path) ?? 0));
  const size = [...loaded.values()].reduce((sum, bytes) => sum + bytes, 0);
  assert.ok(loaded.size > 15 && size > 80_000 && size < 150_000, `${size} bytes: ${JSON.stringify([...loaded])}`);
  holds(`the page is ${Math.round(size / 1000)} kB compressed`);

  // every numbered message that the page's client delivers
  await page.evaluate(() => {
    globalThis.numbered = [];
    globalThis.candela.data.client.on("message", message => { if (message.seq !== undefined && message.channel && !["snapshot", "replay_end"].includes(message.type)) globalThis.numbered.push([message.channel, message.from ?? message.seq, message.seq]); });
  });

  await until("the market to open", async () => (await text(page, "verdict-list")).includes("Safe to trade"));
  holds("the verdict says that the pair is safe to trade");
  await accessible(page, "dark, during a session");
  await page.keyboard.press("t");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
  await accessible(page, "light");
  await page.keyboard.press("t");
  holds("axe-core finds nothing, light and dark");

  await page.keyboard.press("/");
  await page.keyboard.type("api key");
  await page.keyboard.press("Enter");
  assert.match(await page.evaluate(() => location.hash), /panel=keys/);
  await page.keyboard.press("?");
  await page.locator("#help-dialog").waitFor({ state: "visible" });
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.type(`${before} 10:00`);
  await page.keyboard.press("Enter");
  await until("the chart to be at the time", () => page.evaluate(day => { const { from, to } = globalThis.candela.candles.visible, shown = globalThis.candela.candles.shown(); return shown.slice(Math.max(0, Math.ceil(from)), Math.floor(to) + 1).some(point => point.bar?.open_time?.startsWith(`${day}T10:00`)) && location.hash.includes(`at=${day}T15:00:00Z`); }, before));
  await page.keyboard.press("l");
  holds("keys search, help and go to a time");

  const killed = async scenario => {
    seen.away = true; // a browser tells its console that nobody answers
    service.kill("SIGKILL");
    await service.ended;
    await until("the page to say that it is stale", async () => /^Data as of \d\d:\d\d:\d\d America\/Bogota, .* The service does not answer/.test(await text(page, "stale")));
    assert.ok((await text(page, "verdict-list")).includes("Not known"), "a stale page must not say that a pair is safe");
    service = start(scenario);
    await until("the page to be live again", async () => (await text(page, "link")) === "Live" && !(await page.locator("#stale").isVisible()));
    seen.away = false;
  };
  await killed(outage);
  holds("a page without its service says so, no pair is safe then, and it is live again after the restart");

  // The restart itself may leave a gap too, with a cause of its own.
  const shade = await until("the gap to be shaded with its cause", () => page.evaluate(() => globalThis.candela.candles.shades.find(one => one.status !== "filled" && /vendor closed the link \(1006\)/.test(one.causes.join()))));
  await until("the verdict to say why", async () => (await text(page, "verdict-list")).includes("Not safe to trade"));
  await page.screenshot({ path: join(pictures, "outage-dark.png"), fullPage: true });
  holds(`an outage is shaded with its cause: ${shade.causes}`);

  await killed(calm);
  await until("the gap to be healed", () => page.evaluate(() => { const gaps = globalThis.candela.data.gapsOf("USD/COP", "5m"); return gaps.length > 0 && gaps.every(gap => gap.status === "filled") && globalThis.candela.candles.shades.every(shade => shade.status === "filled"); }));
  const after = await page.evaluate(() => globalThis.numbered.length);
  await until("more ticks", () => page.evaluate(count => globalThis.numbered.length > count + 60, after));
  holds("the gap is healed, and ticks go on");

  const inOrder = await page.evaluate(() => {
    const last = {}, wrong = [];
    for (const [channel, from, seq] of globalThis.numbered) {
      if (last[channel] !== undefined && from !== last[channel] + 1) wrong.push(`${channel}: ${from} after ${last[channel]}`);
      last[channel] = seq;
    }
    return { wrong, events: globalThis.candela.data.journal.find({ kinds: ["page"] }).map(event => event.title), count: globalThis.numbered.length };
  });
  assert.deepEqual(inOrder.wrong, [], "numbers of messages over the restart");
  assert.ok(!inOrder.events.some(title => /missing|cannot be resumed/.test(title)), JSON.stringify(inOrder.events));
  holds(`${inOrder.count} numbered messages, no hole and no double over the restart`);

  const same = await until("candles to equal /market/bars", async () => {
    const { bars } = await rest("market/bars?symbol=USDCOP&interval=5m&limit=10000");
    if (bars.filter(bar => bar.session_date === today).length < 8) return undefined;
    const shown = await page.evaluate(() => globalThis.candela.candles.shown().filter(point => point.bar?.state === "closed" || point.bar?.state === "revised").map(({ time, open, high, low, close, bar }) => [bar.open_time, time, open, high, low, close, bar.revision, bar.provenance]));
    const all = bars.map(bar => [bar.open_time, Date.parse(`${bar.open_time.slice(0, 19)}Z`) / 1000, bar.open, bar.high, bar.low, bar.close, bar.revision, bar.provenance]);
    const wanted = all.slice(-shown.length); // the page loads earlier ones when somebody scrolls to them
    return createHash("sha1").update(JSON.stringify(shown)).digest("hex") === createHash("sha1").update(JSON.stringify(wanted)).digest("hex") && { bars: wanted, shown };
  });
  const day = same.bars.filter(bar => bar[0].startsWith(today)).map(bar => bar[1]);
  assert.ok(day.length >= 8 && day.every((time, index) => time === day[0] + index * 300), "a slot of the session without a candle, or with two");
  assert.ok(same.bars.length > 300 && same.bars.some(bar => bar[7] === "backfill"), "history and healed bars are among them");
  holds(`${same.bars.length} candles equal /market/bars, ${day.length} of the session without a hole`);

  const link = await page.locator("#journal-list li[data-id^='gap.'] a").first().getAttribute("href");
  const other = await watched({ viewport: { width: 1280, height: 900 } }, `${root}/${link}`);
  await until("a link to an event to find it", () => other.page.locator("#journal-list .here").isVisible());
  await other.context.close();

  const count = () => page.evaluate(day => globalThis.candela.candles.shown().filter(point => point.bar?.session_date === day).length, today);
  const all = await count();
  await page.evaluate(() => { const slider = document.getElementById("known-at"); slider.value = 50; slider.dispatchEvent(new Event("input")); });
  await until("what was known then", async () => /^As known at \d\d:/.test(await text(page, "to-live")));
  await until("the bars that were known in the middle of the session so far", async () => { const known = await count(); return known > 0 && known < all; });
  await page.keyboard.press("l");
  holds("events have links, and an earlier knowledge can be looked at");

  const steps = await page.evaluate(async () => {
    const { data, candles } = globalThis.candela, last = data.book.list[0];
    const bars = Array.from({ length: 1000 }, (_, index) => { const at = last.at - (1000 - index) * 300_000, time = new Date(at - 5 * 3_600_000).toISOString().slice(0, 19); return { ...last, at, open_time: `${time}-05:00`, session_date: time.slice(0, 10) }; });
    candles.set([...bars, ...data.book.list], [], 300_000, data.zone);
    const frame = () => new Promise(done => requestAnimationFrame(done));
    const middle = async scrolls => {
      const costs = [];
      for (let step = 0; step < 60; step += 1) {
        const start = performance.now();
        if (scrolls) candles.scroll(-step * 12);
        await frame(); // the chart draws in this frame, before us or after
        costs.push(performance.now() - start);
      }
      return costs.sort((a, b) => a - b)[30];
    };
    return { still: await middle(false), scrolled: await middle(true) };
  });
  assert.ok(steps.scrolled < Math.max(20, steps.still * 2), `a step of a scroll over a thousand bars takes ${steps.scrolled} ms, a frame without one ${steps.still} ms`);
  holds(`a step of a scroll over a thousand bars takes ${steps.scrolled.toFixed(1)} ms from frame to frame, ${steps.still.toFixed(1)} ms without one`);

  for (const colorScheme of ["light", "dark"]) for (const [width, height] of [[360, 780], [1280, 900], [2560, 1440]]) {
    const one = await watched({ viewport: { width, height }, colorScheme }, root);
    await until("the page", async () => (await text(one.page, "link")) === "Live" && (await one.page.evaluate(() => globalThis.candela.candles?.shown().length > 300 && globalThis.candela.data.status !== undefined)));
    const overflow = await one.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${width} px wide, the page needs ${overflow} px more`);
    if (width === 360) await accessible(one.page, `360 px, ${colorScheme}`);
    await one.page.screenshot({ path: join(pictures, `${width}-${colorScheme}.png`), fullPage: true });
    assert.deepEqual(one.seen.errors, []);
    await one.context.close();
  }
  assert.deepEqual(seen.errors, [], "the console");
  assert.deepEqual([...seen.hosts], [`127.0.0.1:${port}`], "hosts that were asked");
  holds("no error in the console, no request to another host, no overflow at 360, 1280 and 2560 px");
  service.kill("SIGKILL");
}

async function guarded(port) {
  const tokens = join(work, "tokens");
  const line = (name, token, rest) => `${name} : ${createHash("sha256").update(token).digest("hex")}${rest}\n`;
  writeFileSync(tokens, line("tester", "secret", "") + line("ops", "hush", " : * : operate"));
  mkdirSync(join(work, "l0"), { recursive: true });
  const settings = { "server.tokens_file": tokens, "l0.dir": join(work, "l0"), "upstream.ws_url": "ws://127.0.0.1:9/ws", "upstream.rest_url": "http://127.0.0.1:9" };
  const service = candela(["run", "--port", String(port), ...Object.entries(settings).flatMap(([name, value]) => ["--set", `${name}=${value}`])], { TWELVEDATA_API_KEY_G1_1: "0123456789abcdef0123456789abcdef" });
  await until(`candela to listen:\n${service.text}`, async () => (await fetch(`http://127.0.0.1:${port}/health/live`)).ok);
  const proxy = await prefixed(port);
  const { page, seen } = await watched({ viewport: { width: 1280, height: 900 } });
  seen.away = true; // an answer 401 is told to the console
  await page.goto(`http://127.0.0.1:${proxy.address().port}/prefix/`);
  await until("the page to ask for a token", () => page.locator("#token-dialog").isVisible());
  await accessible(page, "the token's dialog");
  await page.fill("#token-text", "wrong");
  await page.keyboard.press("Enter");
  await until("the page to refuse a wrong token", async () => /refused the token/.test(await text(page, "token-why")));
  await page.fill("#token-text", "secret");
  await page.keyboard.press("Enter");
  await until("the page to be live", async () => (await text(page, "link")) === "Live" && (await page.evaluate(() => globalThis.candela.data.status !== undefined)));
  assert.equal(await page.evaluate(() => sessionStorage.getItem("candela.token")), "secret");
  assert.ok(!(await page.content()).includes("secret") && !page.url().includes("secret"), "the token shows");
  assert.ok(await page.locator("[data-action=restart_actor]").isHidden(), "an action is offered to a token that only reads");
  holds("a token is asked for, kept in the tab and used for REST and the socket, behind a path prefix");
  await acted(page);
  proxy.closeAllConnections();
  proxy.close();
  service.kill("SIGKILL");
}

/** An operator restarts an actor; the action is told among the events. */
async function acted(page) {
  await page.evaluate(() => sessionStorage.setItem("candela.token", "hush"));
  await page.reload();
  await until("the actions", () => page.locator("[data-action=restart_actor]").isVisible());
  await page.click("[data-action=restart_actor]");
  await page.selectOption("#action-fields [name=actor]", "poller");
  await accessible(page, "the dialog of actions");
  await page.fill("#action-reason", "looks stuck");
  await page.screenshot({ path: join(pictures, "action.png") });
  await page.click("#action-send");
  await until("the answer", async () => /^Done at .*: the actor poller is restarted\.$/.test(await text(page, "action-said")));
  await page.selectOption("#action-name", "retire_key");
  await page.fill("#action-reason", "");
  await page.click("#action-send"); // the browser asks for the reason
  assert.equal(await text(page, "action-said"), "");
  await closed(page);
  await page.keyboard.press("Escape");
  await until("the action among the events", async () => /looks stuck/.test(await page.locator("#journal-list").textContent()));
  await page.screenshot({ path: join(pictures, "actions.png"), fullPage: true });
  holds("an operator's token shows buttons, an action is answered in its dialog and told among the events");
}

/** An operator closes the connection of this very page: its client resumes. */
async function closed(page) {
  await page.selectOption("#action-name", "close_client");
  const client = page.locator("#action-fields select[name=client]");
  await until("the list of clients", () => client.isVisible());
  const id = await client.inputValue();
  await page.evaluate(() => { globalThis.candela.data.welcome.before = true; });
  await page.fill("#action-reason", "reads nothing");
  await page.click("#action-send");
  await until("the answer", async () => new RegExp(`^Done at .*: .*${id}.*closed`).test(await text(page, "action-said")));
  const again = () => page.evaluate(() => globalThis.candela.data.welcome.before === undefined);
  await until("the page to be live again", async () => (await again()) && (await text(page, "link")) === "Live");
  holds("an operator closes a client's connection, and that client comes back");
}

try {
  const ports = await freePorts(2);
  await guarded(ports[0]);
  await demo(ports[1]);
  await chrome.close();
  process.exit(0);
} catch (error) {
  console.log(`FAILED after ${((Date.now() - began) / 1000).toFixed(1)} s: ${error.stack}`);
  for (const context of chrome.contexts()) for (const page of context.pages()) await page.screenshot({ path: join(pictures, "failed.png") }).catch(() => {});
  process.exit(1);
}
