// Both API documents as a page for people, from openapi.json and asyncapi.json beside this page.
"use strict";
const add = (to, tag, text) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; to.append(e); return e; };
const row = (table, cells, tag = "td") => { const r = add(table, "tr"); for (const c of cells) add(r, tag, c); };
(async () => {
  const [rest, ws] = await Promise.all(["openapi.json", "asyncapi.json"].map(async url => (await fetch(url)).json()));
  for (const [path, item] of Object.entries(rest.paths)) {
    const d = add(document.getElementById("rest"), "details"), s = add(d, "summary"); add(s, "code", "GET " + path); add(s, "span", "  " + item.get.summary);
    const t = add(d, "table"); for (const p of item.get.parameters || []) row(t, [p.name, p.description, JSON.stringify(p.schema)]);
    add(d, "div", "Answers: " + Object.keys(item.get.responses).join(", "));
  }
  for (const [name, m] of Object.entries(ws.components.messages)) {
    const d = add(document.getElementById("messages"), "details"), s = add(d, "summary"); add(s, "code", name); add(s, "span", "  " + m.summary);
    add(d, "pre", JSON.stringify(m.payload, null, 2));
  }
  row(document.getElementById("errors"), ["code", "name", "may succeed later"], "th");
  for (const e of ws["x-errors"]) row(document.getElementById("errors"), [e.code, e.name, e.temporary ? "yes" : "no"]);
  row(document.getElementById("closes"), ["code", "name", "the client should"], "th");
  for (const c of ws["x-closes"]) row(document.getElementById("closes"), [c.code, c.name, c.advice]);
})();
