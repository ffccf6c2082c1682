// How complete each session of each pair is: sessions across, pairs down. Coverage is told, not judged: a quiet pair is no fault.

import { $, font, put, row, surface } from "./dom.js";
import { get } from "./rest.js";
import { dayName, isoDate } from "./time.js";
import * as words from "./words.js";

/** Days that are looked back. */
const DAYS = 42;
const LABEL = 74;

export class Heatmap {
  #days = [];
  #cells = new Map();
  #at;

  constructor(data, colour, onPick) {
    Object.assign(this, { data, colour, onPick, canvas: $("heatmap") });
    this.canvas.addEventListener("mousemove", event => this.#point(event));
    this.canvas.addEventListener("mouseleave", () => { this.#at = undefined; this.#say(); this.draw(); });
    this.canvas.addEventListener("click", event => {
      const cell = this.#under(event);
      if (cell?.opens) onPick(cell.pair, cell.opens, cell.date);
    });
  }

  /** Reads calendar, bars and gaps of each pair, one after the other so that the page itself goes first. */
  async load(attempts = 5) {
    put($("calendar-note"), "");
    let failed = false;
    const { data } = this, to = isoDate(data.now(), data.zone);
    const from = new Date(Date.parse(to) - (DAYS - 1) * 86_400_000).toISOString().slice(0, 10);
    for (const { symbol: pair, zone } of data.symbols) {
      try {
        const calendar = await get("market/calendar", { symbol: pair, from, to });
        const counts = await this.#count(pair, from);
        const { gaps } = await get("market/gaps", { symbol: pair, from, limit: 2000 });
        this.#days = calendar.days.map(day => day.date);
        for (const day of calendar.days) {
          const missing = gaps.filter(gap => gap.status === "unfillable" && gap.interval === "5m" && isoDate(Date.parse(gap.from), zone) === day.date);
          this.#cells.set(`${pair} ${day.date}`, {
            pair, date: day.date, reason: day.reason, expected: day.expected_bars, opens: day.opens && Date.parse(day.opens), present: counts.get(day.date) ?? 0,
            unfillable: missing.reduce((sum, gap) => sum + gap.bars, 0), evidence: missing[0]?.cause,
          });
        }
      } catch (error) {
        failed = true;
        put($("calendar-note"), `${pair}: ${error.message}`);
      }
      this.draw();
    }
    this.loaded = true;
    if (failed && attempts > 1) setTimeout(() => this.load(attempts - 1), 10_000);
    this.#table();
    this.#say();
  }

  async #count(pair, from) {
    const counts = new Map();
    let cursor;
    do {
      const page = await get("market/bars", { symbol: pair, interval: "5m", from, order: "asc", limit: 5000, cursor });
      for (const bar of page.bars) counts.set(bar.session_date, (counts.get(bar.session_date) ?? 0) + 1);
      cursor = page.next_cursor;
    } while (cursor);
    return counts;
  }

  /** Today's own count comes from the session that runs. */
  today(pair, date, present) {
    const cell = this.#cells.get(`${pair} ${date}`);
    if (!cell || cell.present === present) return;
    cell.present = present;
    this.draw();
    this.#table();
  }

  #size() {
    const width = this.canvas.clientWidth, column = Math.max(3, (width - LABEL) / Math.max(1, this.#days.length));
    const rows = this.data.symbols.length, line = Math.max(16, Math.min(30, 120 / rows));
    return { column, line, rows };
  }

  #under({ offsetX, offsetY }) {
    const { column, line } = this.#size();
    const date = this.#days[Math.floor((offsetX - LABEL) / column)], pair = this.data.symbols[Math.floor((offsetY - 18) / line)]?.symbol;
    return this.#cells.get(`${pair} ${date}`);
  }
  #point(event) {
    const cell = this.#under(event);
    if (cell === this.#at) return;
    this.#at = cell;
    this.#say();
    this.draw();
  }

  describe(cell) {
    const day = dayName(cell.date);
    if (!cell.opens) return `${day}: no session, ${cell.reason}`;
    const rest = cell.unfillable ? `; ${words.bars(cell.unfillable)} the vendor does not have (${words.cause(cell.evidence)})` : "";
    return `${cell.pair}, ${day}: ${cell.present} of ${words.bars(cell.expected)}${cell.reason === "business day" ? "" : `, ${cell.reason}`}${rest}`;
  }
  #say() {
    put($("heatmap-about"), this.#at ? this.describe(this.#at) : this.loaded ? "Point at a day to read it, click to see its candles." : "Reading the sessions of the last weeks…");
  }

  draw() {
    const { column, line, rows } = this.#size(), { colour } = this;
    this.canvas.style.height = `${18 + rows * line + 4}px`;
    const { context } = surface(this.canvas);
    context.font = font();
    context.fillStyle = colour("soft");
    let shown = -Infinity;
    this.#days.forEach((date, index) => {
      const x = LABEL + index * column, monday = new Date(`${date}T00:00:00Z`).getUTCDay() === 1;
      if (monday && x - shown > 52 && x < this.canvas.clientWidth - 36) { context.fillText(dayName(date).slice(4), x, 11); shown = x; }
    });
    const cover = colour("cover");
    this.data.symbols.forEach(({ symbol: pair }, index) => {
      const y = 18 + index * line;
      context.fillStyle = colour("ink");
      context.fillText(pair, 0, y + line / 2 + 4);
      this.#days.forEach((date, place) => {
        const cell = this.#cells.get(`${pair} ${date}`), x = LABEL + place * column, w = Math.max(2, column - 2), h = line - 3;
        if (!cell) return;
        const full = cell.expected ? Math.min(1, cell.present / cell.expected) : 0;
        context.fillStyle = cell.opens ? `rgba(${cover}, ${cell.present ? .14 + .86 * full ** 1.5 : .08})` : colour("quiet-ground");
        context.beginPath();
        context.roundRect(x, y, w, h, 2.5);
        context.fill();
        if (cell.opens && !cell.present) { context.strokeStyle = colour("line-strong"); context.stroke(); }
        if (cell.unfillable) {
          context.save();
          context.clip();
          context.strokeStyle = colour("unfillable");
          context.beginPath();
          for (let at = x - h; at < x + w; at += 5) { context.moveTo(at, y + h); context.lineTo(at + h, y); }
          context.stroke();
          context.restore();
        }
        if (cell === this.#at) { context.strokeStyle = colour("ink"); context.lineWidth = 1.5; context.stroke(); context.lineWidth = 1; }
      });
    });
  }

  #table() {
    const table = $("heatmap-table"), pairs = this.data.symbols.map(one => one.symbol);
    table.tHead.replaceChildren(row(["Day", ...pairs], "th"));
    table.tBodies[0].replaceChildren(...this.#days.map(date => row([{ text: date, header: true }, ...pairs.map(pair => {
      const cell = this.#cells.get(`${pair} ${date}`);
      return cell ? (cell.opens ? `${cell.present} of ${cell.expected}` : `no session, ${cell.reason}`) : "";
    })])));
  }
}
