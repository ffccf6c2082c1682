// REST of the service: beside the page, also behind a path prefix, with the token of this tab.

const KEPT = "candela.token";

/** The token lives as long as the tab. */
export const token = {
  get: () => sessionStorage.getItem(KEPT) ?? undefined,
  set: value => (value ? sessionStorage.setItem(KEPT, value) : sessionStorage.removeItem(KEPT)),
};

export class RestError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The JSON at `path`, which is relative to the page. */
export async function get(path, parameters = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
  return ask(url, {});
}

/** What the service answers to a request for an action; one that is sent again with its key is run once. */
export function post(path, body, key) {
  const headers = { "content-type": "application/json", "idempotency-key": key };
  return ask(new URL(path, document.baseURI), { method: "POST", headers, body: JSON.stringify(body) });
}

async function ask(url, { headers = {}, ...rest }) {
  const shown = token.get();
  let answer;
  try {
    answer = await fetch(url, { ...rest, headers: shown ? { ...headers, authorization: `Bearer ${shown}` } : headers, signal: AbortSignal.timeout(15_000), cache: "no-cache" });
  } catch {
    throw new RestError(0, "the service does not answer");
  }
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new RestError(answer.status, problem.detail ?? `the service answered ${answer.status}`);
}

export function socketUrl() {
  const url = new URL("ws", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url;
}
