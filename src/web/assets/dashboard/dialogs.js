// Search, go to a time, token, help; and the keyboard.

import { $, make, put } from "./dom.js";
import { clockTime, parseTime } from "./time.js";

export class Dialogs {
  constructor(data, actions) {
    Object.assign(this, { data, actions, found: [], at: 0 });
    for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", event => { if (event.target === dialog && dialog.id !== "token-dialog") dialog.close(); });
    for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
    $("open-search").addEventListener("click", () => this.search());
    $("pair").addEventListener("click", () => this.search());
    $("open-goto").addEventListener("click", () => this.goTo());
    $("open-help").addEventListener("click", () => $("help-dialog").showModal());
    $("search-text").addEventListener("input", () => { this.at = 0; this.#find(); });
    $("search-text").addEventListener("keydown", event => this.#choose(event));
    $("goto-form").addEventListener("submit", event => this.#go(event));
    $("token-form").addEventListener("submit", () => actions.token($("token-text").value.trim()));
    $("token-dialog").addEventListener("cancel", event => event.preventDefault());
    addEventListener("keydown", event => this.#key(event));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const { actions } = this;
    const keys = { "/": () => this.search(), g: () => this.goTo(), "?": () => $("help-dialog").showModal(), t: actions.theme, l: actions.live, b: actions.form, "[": () => actions.step(-1), "]": () => actions.step(1) };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  search() {
    $("search-text").value = "";
    this.at = 0;
    this.#find();
    $("search-dialog").showModal();
    $("search-text").focus();
  }

  #find() {
    const words = $("search-text").value.toLowerCase().split(/\s+/).filter(Boolean), { data, actions } = this;
    const panels = [...document.querySelectorAll("main > section")].map(section => ({ name: section.querySelector("h2").textContent, kind: "panel", go: () => actions.panel(section.id) }));
    const pairs = data.symbols.map(one => ({ name: one.symbol, more: one.compact, kind: "pair", go: () => actions.pair(one.symbol) }));
    const events = words.length ? data.journal.find({ text: $("search-text").value }).slice(0, 12).map(event => ({ name: event.title, kind: `event, ${clockTime(event.at, data.zone)}`, sure: true, go: () => actions.event(event.id) })) : [];
    this.found = [...pairs, ...panels, ...events].filter(one => one.sure || words.every(word => `${one.name} ${one.more ?? ""} ${one.kind}`.toLowerCase().includes(word))).slice(0, 24);
    $("search-found").replaceChildren(...this.found.map((one, index) => make("li", {}, make("button", { type: "button", class: index === this.at ? "at" : "", on: { click: () => this.#take(index) } }, one.name, make("small", { text: one.kind })))));
  }
  #choose(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.at = Math.max(0, Math.min(this.found.length - 1, this.at + step));
      this.#find();
      $("search-found").querySelector(".at")?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.#take(this.at);
    }
  }
  #take(index) {
    $("search-text").blur(); // else the next key goes to a field that nobody sees
    $("search-dialog").close();
    this.found[index]?.go();
  }

  goTo() {
    put($("goto-help"), `In the market's time (${this.data.zone}): 09:30, 2025-10-22, 2025-10-22 09:30, or back from now: -2h, -3d.`);
    $("goto-text").value = "";
    $("goto-dialog").showModal();
    $("goto-text").focus();
  }
  #go(event) {
    const text = $("goto-text").value, at = parseTime(text, this.data.now(), this.data.zone);
    if (at === undefined) {
      event.preventDefault();
      put($("goto-help"), `${text ? `“${text}” is not a time` : "Nothing was given"}. Write 09:30, 2025-10-22, 2025-10-22 09:30, or -2h.`);
      return;
    }
    this.actions.time(at);
  }

  askToken(why) {
    if ($("token-dialog").open) return;
    if (why) put($("token-why"), `${why}. The token is kept in this tab alone and forgotten with it.`);
    $("token-text").value = "";
    $("token-dialog").showModal();
    $("token-text").focus();
  }
}
