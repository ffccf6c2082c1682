// What the page shows, as its address says it after the `#`. Pure.

const NAMES = ["pair", "interval", "range", "at", "event", "panel"];

export function parseLink(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const link = {};
  for (const name of NAMES) if (given.get(name)) link[name] = given.get(name);
  return link;
}

/** Readable: `/` and `:` are allowed in a fragment and stay. */
export function formatLink(link) {
  const parts = NAMES.filter(name => link[name]).map(name => `${name}=${encodeURIComponent(link[name]).replaceAll("%2F", "/").replaceAll("%3A", ":")}`);
  return parts.length ? `#${parts.join("&")}` : "";
}
