// Candles by lightweight-charts, with what it does not know: missing bars shaded with their cause, and where sessions begin.

import { CandlestickSeries, ColorType, createChart, createSeriesMarkers } from "./vendor/lightweight-charts.mjs";
import { chartTimes, wallSeconds } from "./bars.js";
import { font } from "./dom.js";
import { rfc3339 } from "./time.js";
import * as words from "./words.js";

const HOLLOW = new Set(["backfill", "polled", "mixed"]);

/** Draws behind the candles: shaded gaps, lines between sessions. */
class Background {
  #attached;
  shades = [];
  lines = [];
  colour = () => "";

  attached(parameters) {
    this.#attached = parameters;
  }
  detached() {
    this.#attached = undefined;
  }
  redraw() {
    this.#attached?.requestUpdate();
  }
  updateAllViews() {}
  paneViews() {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: target => target.useMediaCoordinateSpace(scope => this.#draw(scope)) }) }];
  }
  #draw({ context, mediaSize: { width, height } }) {
    if (!this.#attached) return;
    const scale = this.#attached.chart.timeScale(), half = scale.options().barSpacing / 2;
    context.fillStyle = this.colour("line");
    for (const time of this.lines) {
      const x = scale.timeToCoordinate(time);
      if (x !== null && x > 0 && x < width) context.fillRect(Math.round(x - half), 0, 1, height);
    }
    for (const { from, to, status, bars, causes } of this.shades) {
      const left = scale.timeToCoordinate(from), right = scale.timeToCoordinate(to);
      if (left === null || right === null || right + half < 0 || left - half > width) continue;
      const x = left - half, w = Math.max(2, right - left + half * 2);
      if (status === "filled") {
        context.fillStyle = this.colour("backfill");
        context.fillRect(x, height - 3, w, 3);
        continue;
      }
      context.fillStyle = this.colour("gap-ground");
      context.fillRect(x, 0, w, height);
      context.save();
      context.beginPath();
      context.rect(x, 0, w, height);
      context.clip();
      if (status === "unfillable") {
        context.strokeStyle = this.colour("unfillable");
        context.globalAlpha = .35;
        context.beginPath();
        for (let at = x - height; at < x + w; at += 9) { context.moveTo(at, height); context.lineTo(at + height, 0); }
        context.stroke();
      }
      context.restore();
      context.setLineDash([3, 3]);
      context.strokeStyle = this.colour(status === "unfillable" ? "unfillable" : "gap");
      context.strokeRect(x + .5, -1, w - 1, height + 2);
      context.setLineDash([]);
      context.save();
      context.font = font(600);
      context.fillStyle = this.colour("warn");
      const short = `${words.bars(bars)} ${status === "unfillable" ? status : "missing"}`, label = `${short}: ${causes.join("; ")}`;
      const size = context.measureText(label).width, fits = size < width - 70;
      context.fillText(fits ? label : short, Math.max(62, Math.min(x + 6, width - (fits ? size : 60) - 6)), height - 12); // right of the chart's logo
      context.restore();
    }
  }
}

/** Gaps that follow each other and wait for the same thing are one shade. */
export function merged(shades) {
  const found = [], kind = status => (status === "filling" ? "open" : status);
  for (const shade of shades.sort((a, b) => a.at - b.at)) {
    const last = found.at(-1);
    if (last && last.end === shade.at && kind(last.status) === kind(shade.status)) Object.assign(last, { to: shade.to, end: shade.end, bars: last.bars + shade.bars, causes: [...new Set([...last.causes, ...shade.causes])] });
    else found.push({ ...shade });
  }
  return found;
}

export class Candles {
  #chart;
  #series;
  #markers;
  #background = new Background();
  #items = new Map();
  #times = [];
  #slots = new Map();

  constructor(container, { colour, onOlder, onPoint, onMoved }) {
    this.container = container;
    this.colour = colour;
    this.#background.colour = colour;
    this.#chart = createChart(container, { autoSize: true, ...this.#look(), localization: { locale: "en-GB", timeFormatter: time => this.#label(time) } });
    this.#series = this.#chart.addSeries(CandlestickSeries, { ...this.#candle(), priceLineStyle: 2 });
    this.#series.attachPrimitive(this.#background);
    this.#markers = createSeriesMarkers(this.#series, []);
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange(range => {
      if (!range) return;
      if (range.from < 40) onOlder();
      onMoved(range);
    });
    this.#chart.subscribeCrosshairMove(({ time }) => onPoint(time === undefined ? undefined : this.#items.get(time)));
  }

  #look() {
    const { colour } = this;
    return {
      layout: { background: { type: ColorType.Solid, color: "transparent" }, textColor: colour("soft"), fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 11, attributionLogo: true },
      grid: { vertLines: { visible: false }, horzLines: { color: colour("grid") } },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: .12, bottom: .08 } },
      timeScale: { borderColor: colour("line"), timeVisible: true, secondsVisible: false, rightOffset: 4, minBarSpacing: .4 },
      crosshair: { mode: 0, vertLine: { color: colour("line-strong"), labelBackgroundColor: colour("ink") }, horzLine: { color: colour("line-strong"), labelBackgroundColor: colour("ink") } },
    };
  }
  #candle() {
    const { colour } = this;
    return { upColor: colour("up"), downColor: colour("down"), borderUpColor: colour("up"), borderDownColor: colour("down"), wickUpColor: colour("up"), wickDownColor: colour("down") };
  }

  retheme() {
    this.#chart.applyOptions(this.#look());
    this.#series.applyOptions(this.#candle());
    this.#background.redraw();
  }

  #label(time) {
    const bar = this.#items.get(time);
    return new Date((bar?.wall ?? time) * 1000).toUTCString().slice(0, 22).replace(/ \d{4} /, "  ").replace(",", "");
  }

  #point(time, bar) {
    if (!bar) return { time };
    const { open, high, low, close } = bar, side = this.colour(close >= open ? "up" : "down");
    const point = { time, open, high, low, close };
    if (HOLLOW.has(bar.provenance)) Object.assign(point, { color: "rgba(0,0,0,0)", borderColor: side, wickColor: side });
    else if (bar.state === "partial") Object.assign(point, { borderColor: side });
    return point;
  }

  /** All bars, with an empty place for each slot of a gap. `range`: keep the view unless told otherwise. */
  set(bars, gaps, slot, zone) {
    const items = bars.map(bar => ({ at: bar.at, wall: wallSeconds(bar.open_time), bar }));
    const known = new Set(items.map(item => item.at)), first = items[0]?.at ?? Infinity;
    for (const gap of gaps) {
      for (let at = gap.at, left = 3000; at < gap.end && left > 0; at += slot, left -= 1) {
        if (at < first || known.has(at)) continue;
        known.add(at);
        items.push({ at, wall: wallSeconds(rfc3339(at, zone)) });
      }
    }
    items.sort((a, b) => a.at - b.at);
    const times = chartTimes(items);
    this.#items = new Map(items.map((item, index) => [times[index], item.bar ? { ...item.bar, wall: item.wall } : { wall: item.wall, at: item.at }]));
    this.#slots = new Map(items.map((item, index) => [item.at, times[index]]));
    this.#times = times;
    this.#series.applyOptions({ priceFormat: this.#format(bars) });
    this.#series.setData(items.map((item, index) => this.#point(times[index], item.bar)));
    this.#decorate(items.map(item => item.bar), gaps, slot);
  }

  #format(bars) {
    const precision = words.decimals(bars.slice(-50).flatMap(bar => [bar.open, bar.close]));
    return { type: "price", precision, minMove: 10 ** -precision };
  }

  #decorate(bars, gaps, slot) {
    const markers = [], lines = [];
    let day;
    bars.forEach((bar, index) => {
      if (!bar) return;
      const time = this.#times[index];
      if (bar.session_date && day && bar.session_date !== day) lines.push(time);
      day = bar.session_date ?? day;
      if (bar.revision > 0) markers.push({ time, position: "belowBar", shape: "circle", size: .5, color: this.colour("link"), text: `r${bar.revision}` });
      if (bar.flags?.length) markers.push({ time, position: "aboveBar", shape: "circle", size: .5, color: this.colour("gap") });
    });
    this.#markers.setMarkers(markers);
    this.#background.lines = lines;
    this.#background.shades = merged(gaps.flatMap(gap => {
      const from = this.#slots.get(gap.at), to = this.#slots.get(gap.end - slot);
      return from === undefined || to === undefined ? [] : [{ from, to, end: gap.end, at: gap.at, bars: gap.bars, status: gap.status, causes: [words.cause(gap.cause)] }];
    }));
    this.#background.redraw();
  }

  /** One bar that changed. Whether it could be shown so; if not, everything has to be set again. */
  update(bar) {
    const known = this.#slots.get(bar.at), last = this.#times.at(-1);
    if (known !== undefined) {
      const before = this.#items.get(known);
      this.#items.set(known, { ...bar, wall: before.wall });
      this.#series.update(this.#point(known, bar), known < last);
      return bar.state === "partial" && known === last;
    }
    const wall = wallSeconds(bar.open_time);
    if (last !== undefined && wall <= last) return false;
    this.#slots.set(bar.at, wall);
    this.#times.push(wall);
    this.#items.set(wall, { ...bar, wall });
    this.#series.update(this.#point(wall, bar));
    return true;
  }

  /** The candles as the chart holds them. */
  shown() {
    return this.#series.data().map(point => ({ ...point, bar: this.#items.get(point.time) }));
  }
  get shades() {
    return this.#background.shades;
  }

  /** The last `sessions` sessions; of one, room for all of its bars. */
  range(sessions, expected) {
    const days = this.#times.map(time => this.#items.get(time)?.session_date);
    const last = days.length - 1, seen = new Set();
    let first = last;
    for (let index = last; index >= 0; index -= 1) {
      if (days[index] !== undefined) seen.add(days[index]);
      if (seen.size > sessions) break;
      first = index;
    }
    const fresh = sessions === 1 && last - first < 12; // of a young session, some of the one before
    const from = first - (fresh ? 24 : 1), to = sessions === 1 ? Math.max(last + 3, first + (expected ?? 0) + 1) : last + 4;
    this.#chart.timeScale().applyOptions({ shiftVisibleRangeOnNewBar: sessions !== 1 });
    this.#chart.timeScale().setVisibleLogicalRange({ from: Math.max(from, -2), to: fresh ? Math.min(to, last + 40) : to });
    this.#chart.priceScale("right").applyOptions({ autoScale: true });
  }

  goTo(at) {
    let index = this.#times.findIndex(time => (this.#items.get(time)?.at ?? 0) >= at);
    if (index < 0) index = this.#times.length - 1;
    this.#chart.timeScale().setVisibleLogicalRange({ from: index - 40, to: index + 40 });
    const time = this.#times[index], bar = this.#items.get(time);
    if (bar?.close !== undefined) this.#chart.setCrosshairPosition(bar.close, time, this.#series);
  }

  get visible() {
    return this.#chart.timeScale().getVisibleLogicalRange();
  }
  scroll(bars) {
    this.#chart.timeScale().scrollToPosition(bars, false);
  }
}
