// Actions of an operator: buttons and a dialog for what the token of this tab allows. The service decides; the page only asks.

import { $, make, put } from "./dom.js";
import { get, post } from "./rest.js";

const NAMES = {
  restart_actor: "Restart an actor", backfill: "Fetch missing bars", override_gate: "Count the history as verified", retire_key: "Take a key out of use",
  revive_key: "Use a key again", close_client: "Close a client's connection", drain: "Stop the service in order",
};
const MEMBERS = { actor: "Actor", symbol: "Pair", from: "From", to: "To, or empty for now", until: "Until", key: "Key", client: "Client" };
const EXAMPLES = { from: "2026-03-02 or 2026-03-02 08:00", to: "2026-03-02", until: "2026-03-02 10:00" };

/** A key that makes a request one request, however often it is sent. */
const onceKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");

export class Actions {
  constructor(data) {
    Object.assign(this, { data, allowed: [], clients: [] });
    for (const button of document.querySelectorAll("[data-action]")) button.addEventListener("click", () => this.open(button.dataset.action));
    $("action-name").addEventListener("change", () => this.#ask());
    $("action-form").addEventListener("submit", event => {
      event.preventDefault();
      this.#send();
    });
  }

  /** Learns what the token allows, and shows the buttons for it. */
  async look() {
    this.allowed = await get("admin").then(answer => answer.actions, () => []);
    const allowed = new Set(this.allowed.map(one => one.action));
    for (const button of document.querySelectorAll("[data-action]")) button.hidden = !allowed.has(button.dataset.action);
  }

  open(action) {
    $("action-name").replaceChildren(...this.allowed.map(one => make("option", { value: one.action, text: NAMES[one.action] ?? one.action })));
    $("action-name").value = action;
    $("action-reason").value = "";
    this.#ask();
    $("action-dialog").showModal();
    if (this.allowed.some(one => one.action === "close_client")) this.#learnClients();
  }

  /** The clients that may be closed, slow ones first: they change, so the list is fetched whenever the dialog opens. */
  async #learnClients() {
    this.clients = await get("admin/clients").then(answer => answer.clients, () => []);
    if ($("action-name").value === "close_client") this.#ask();
  }

  /** The fields of the action that is chosen. */
  #ask() {
    put($("action-said"), "");
    this.key = onceKey();
    const { members = [] } = this.allowed.find(one => one.action === $("action-name").value) ?? {};
    $("action-fields").replaceChildren(...members.map(member => make("label", { text: MEMBERS[member] ?? member }, this.#field(member))));
  }
  #field(member) {
    const { status, symbols, pair } = this.data;
    const choices = { actor: status?.actors?.map(one => one.name), key: status?.keys?.map(one => one.id.split(" ")[0]), symbol: symbols.map(one => one.symbol) }[member];
    if (member === "client" && this.clients.length) {
      const named = one => [one.id, one.address, one.token, one.slow && "slow"].filter(Boolean).join(" · ");
      return make("select", { name: member }, ...this.clients.map(one => make("option", { value: one.id, text: named(one) })));
    }
    if (!choices) return make("input", { type: "text", name: member, placeholder: EXAMPLES[member] ?? "", autocomplete: "off", required: member !== "to" });
    return make("select", { name: member }, ...choices.map(choice => make("option", { value: choice, text: choice, selected: choice === pair })));
  }

  async #send() {
    const body = { reason: $("action-reason").value.trim() };
    for (const field of $("action-fields").querySelectorAll("[name]")) if (field.value.trim()) body[field.name] = field.value.trim();
    $("action-send").disabled = true;
    put($("action-said"), "Sending the request…");
    try {
      const { message, at } = await post(`admin/${$("action-name").value}`, body, this.key);
      this.key = onceKey();
      put($("action-said"), `Done at ${at.slice(11, 19)}: ${message}.`);
    } catch (error) {
      put($("action-said"), `Refused: ${error.message}.`);
    }
    $("action-send").disabled = false;
  }
}
