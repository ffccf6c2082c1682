// A session from its open to its close: a block for each bar, gaps, reconnects and conditions, and now.

import { $, font, row, surface } from "./dom.js";
import { minuteTime } from "./time.js";
import * as words from "./words.js";

const KIND = { live: "live", polled: "polled", mixed: "polled", backfill: "backfill", l0: "l0" };

/** The session as stretches of one kind: `{from, to, kind, bars}`. Pure. */
export function stretches(session, book, gaps, now, slot) {
  const found = [];
  for (let at = session.opens; at < session.closes; at += slot) {
    const bar = book.get(at), gap = gaps.find(one => one.at <= at && at < one.end);
    let kind = at < now ? "waiting" : "ahead";
    if (bar) kind = bar.state === "partial" ? "forming" : KIND[bar.provenance] ?? "live";
    else if (gap) kind = gap.status === "unfillable" ? "unfillable" : "gap";
    const to = Math.min(at + slot, session.closes), last = found.at(-1);
    if (last && last.kind === kind && last.cause === (bar ? undefined : gap?.cause)) Object.assign(last, { to, bars: last.bars + 1 });
    else found.push({ from: at, to, kind, bars: 1, cause: bar ? undefined : gap?.cause });
  }
  return found;
}

const NAMES = { live: "live", polled: "polled", backfill: "backfilled", l0: "history", forming: "forming now", gap: "missing", unfillable: "unfillable", waiting: "no bar yet", ahead: "to come" };

export class Timeline {
  constructor(colour, onPick) {
    this.canvas = $("timeline");
    this.colour = colour;
    this.canvas.addEventListener("click", event => {
      if (this.session) onPick(this.session.opens + (event.offsetX - this.left) / this.width * (this.session.closes - this.session.opens));
    });
  }

  draw({ session, book, gaps, events, now, slot, zone }) {
    this.session = session;
    const { context, width, height } = surface(this.canvas), { colour } = this;
    const left = 2, right = width - 2, y = 22, tall = height - y - 20;
    Object.assign(this, { left, width: right - left });
    context.font = font();
    context.textBaseline = "alphabetic";
    if (!session) {
      context.fillStyle = colour("soft");
      context.fillText("No session is known", left, y + tall / 2);
      return;
    }
    const x = at => left + (at - session.opens) / (session.closes - session.opens) * (right - left);
    const found = stretches(session, book, gaps, now, slot), gapWidth = (right - left) * slot / (session.closes - session.opens) > 5 ? 1 : 0;
    context.fillStyle = colour("quiet-ground");
    context.beginPath();
    context.roundRect(left, y, right - left, tall, 4);
    context.fill();
    for (const one of found) {
      if (one.kind === "ahead") continue;
      for (let index = 0; index < one.bars; index += 1) {
        const from = x(one.from + index * slot), to = x(Math.min(one.from + (index + 1) * slot, session.closes));
        context.globalAlpha = one.kind === "forming" ? .45 : one.kind === "waiting" ? .25 : 1;
        context.fillStyle = colour({ forming: "live", gap: "gap", unfillable: "unfillable", waiting: "line-strong" }[one.kind] ?? one.kind);
        if (one.kind === "gap" || one.kind === "unfillable") context.globalAlpha = .3;
        context.fillRect(from, y, Math.max(1, to - from - gapWidth), tall);
        context.globalAlpha = 1;
        if (one.kind === "gap" || one.kind === "unfillable") {
          context.strokeStyle = colour(one.kind);
          context.setLineDash(one.kind === "gap" ? [2, 2] : []);
          context.strokeRect(from + .5, y + .5, Math.max(1, to - from - 1 - gapWidth), tall - 1);
          context.setLineDash([]);
        }
      }
    }
    // hours, as many as have room
    const hour = 3_600_000, every = [1, 2, 3, 4, 6, 12].find(step => x(session.opens + step * hour) - x(session.opens) > 56) ?? 24;
    context.fillStyle = colour("soft");
    for (let at = session.opens; at < session.closes; at += hour * every) {
      context.textAlign = at === session.opens ? "left" : "center";
      if (x(at) < right - 60) context.fillText(minuteTime(at, zone), x(at), height - 4);
    }
    context.textAlign = "right";
    context.fillText(minuteTime(session.closes, zone), right, height - 4);
    for (const event of events) {
      if (event.at < session.opens || event.at > session.closes) continue;
      context.fillStyle = colour(event.tone === "good" ? "good" : event.tone === "plain" ? "soft" : "warn");
      context.fillRect(x(event.at) - 1, y - 6, 2, tall + 9);
    }
    if (now >= session.opens && now <= session.closes) {
      const at = x(now), label = `now ${minuteTime(now, zone)}`;
      context.fillStyle = colour("ink");
      context.fillRect(at - .75, y - 5, 1.5, tall + 10);
      context.font = font(600);
      context.textAlign = at > right - 50 ? "right" : at < left + 50 ? "left" : "center";
      context.fillText(label, at, 12);
    }
    context.textAlign = "left";
    const table = $("timeline-table").tBodies[0], text = JSON.stringify(found.map(one => [one.kind, one.from, one.bars]));
    if (table.dataset.text !== text) {
      table.dataset.text = text;
      table.replaceChildren(...found.map(one => row([minuteTime(one.from, zone), minuteTime(one.to, zone), `${NAMES[one.kind]}, ${words.bars(one.bars)}${one.cause ? `: ${words.cause(one.cause)}` : ""}`])));
    }
  }
}
