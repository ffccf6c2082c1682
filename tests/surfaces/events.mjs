// The `eventsource` package of npm, which keeps to the standard, follows a stream through a kill of the service by itself:
// nothing here resumes, and nothing is missed.   node events.mjs URL RETURNS
import { EventSource } from "eventsource";

const [url, returns] = [process.argv[2], Number(process.argv[3])];
const channel = "ticks:USD/COP";
const source = new EventSource(`${url}/sse?channels=${encodeURIComponent(channel)}`);
let last = null;
let [ticks, connected] = [0, 0];

function fail(why) {
  console.log("FAIL", why);
  process.exit(1);
}

source.addEventListener("subscribed", (event) => {
  const answer = JSON.parse(event.data).channels[0];
  connected += 1;
  if (last === null) last = answer.seq;
  else if (answer.recovered !== true || answer.seq - answer.replayed !== last) fail(event.data);
  console.log("subscribed", connected);
});
source.addEventListener("market_data", (event) => {
  const said = JSON.parse(event.data);
  if ((said.from ?? said.seq) !== last + 1) fail(`${event.data} after ${last}`);
  last = said.seq;
  ticks += 1;
  if (connected > returns && ticks > 50) {
    console.log("ok");
    process.exit(0);
  }
});
setTimeout(() => fail(`too late: ${ticks} ticks, ${connected} connections`), 120_000);
