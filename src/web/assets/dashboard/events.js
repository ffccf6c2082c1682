// The list of events: filter by kind and text, a link for each.

import { $, make, put } from "./dom.js";
import { clockTime, dayName, isoDate } from "./time.js";

const KINDS = [["gap", "Gaps"], ["condition", "Conditions"], ["feed", "Feed"], ["session", "Sessions"], ["bar", "Bars"], ["service", "Service"], ["page", "This page"]];
/** Events that are shown at one time. */
const SHOWN = 200;

export class Events {
  constructor(data, { linkTo, onPick }) {
    Object.assign(this, { data, linkTo, kinds: new Set(), around: undefined });
    for (const [kind, name] of KINDS) $("journal-kinds").append(make("button", {
      type: "button", text: name, attributes: { "aria-pressed": "false" },
      on: { click: event => { const on = !this.kinds.delete(kind); if (on) this.kinds.add(kind); event.target.setAttribute("aria-pressed", String(on)); this.around = undefined; this.draw(); } },
    }));
    $("journal-text").addEventListener("input", () => { this.around = undefined; this.draw(); });
    $("journal-list").addEventListener("click", event => { const at = event.target.closest("[data-at]")?.dataset.at; if (at && !event.target.closest("a")) onPick(Number(at)); });
  }

  /** Those around an instant, as after a click on the timeline. */
  near(at) {
    this.around = at;
    this.draw();
  }
  show(id) {
    this.here = id;
    this.around = undefined;
    for (const one of [...this.kinds]) this.kinds.delete(one);
    $("journal-text").value = "";
    for (const button of $("journal-kinds").children) button.setAttribute("aria-pressed", "false");
    this.draw();
    $("journal-list").querySelector(".here")?.scrollIntoView({ block: "nearest" });
  }

  draw() {
    const { data } = this, span = 15 * 60_000;
    const range = this.around === undefined ? {} : { from: this.around - span, to: this.around + span };
    const found = data.journal.find({ kinds: [...this.kinds], pair: data.pair, text: $("journal-text").value, ...range }), today = isoDate(data.now(), data.zone);
    const note = this.around === undefined ? `${found.length}` : `${found.length} around ${clockTime(this.around, data.zone).slice(0, 5)}`;
    put($("journal-note"), note);
    const items = found.slice(0, SHOWN).map(event => {
      const day = isoDate(event.at, data.zone), time = clockTime(event.at, data.zone);
      return make("li", { class: `${event.tone} ${event.id === this.here ? "here" : ""}`.trim(), data: { at: String(event.at), id: event.id } },
        make("time", { text: day === today ? time : `${dayName(day).slice(4)} ${time.slice(0, 5)}`, dateTime: new Date(event.at).toISOString() }),
        make("span", { class: "what", text: event.title }),
        make("a", { href: this.linkTo(event.id), text: "link", attributes: { "aria-label": `Link to this event: ${event.title}` } }),
        event.detail ? make("p", { text: event.detail }) : undefined);
    });
    if (!items.length) items.push(make("li", { class: "soft empty", text: this.around === undefined ? "No event fits this filter." : "No event was published within a quarter of an hour of that time." }));
    $("journal-list").replaceChildren(...items);
  }
}
