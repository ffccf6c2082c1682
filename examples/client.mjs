// Follows ticks and five-minute bars, resumes after every disconnect, and checks that nothing is missing.
//
//     npm install ws          (or Node 22, which has WebSocket built in)
//     node client.mjs ws://127.0.0.1:8080/ws USD/COP [seconds]
const Socket = globalThis.WebSocket ?? (await import("ws")).WebSocket;
const [url = "ws://127.0.0.1:8080/ws", symbol = "USD/COP", seconds] = process.argv.slice(2);
const channels = [`ticks:${symbol}`, `bars.5m:${symbol}`, `quality:${symbol}`];
const positions = {}, counts = { ticks: 0, bars: 0, holes: 0 };
let delay = 200;

// The next message's `from` is the last `seq` + 1, or the server said `skipped` in its place.
function check(message) {
  const known = positions[message.channel], from = message.from ?? message.seq;
  if (known && from !== known.seq + 1) {
    counts.holes += 1;
    console.log("HOLE in", message.channel, "after", known.seq, "before", from);
  }
  positions[message.channel] = { epoch: known?.epoch, seq: message.seq };
}

function hear(message) {
  if (message.type === "subscribed") {
    for (const answer of message.channels)
      if (answer.seq !== undefined && !answer.recovered) positions[answer.channel] = { epoch: answer.epoch, seq: answer.seq };
  } else if (message.type === "error") {
    console.log("error:", message.message);
  } else if (message.type === "discontinuity") {
    positions[message.channel] = { epoch: message.epoch, seq: message.seq };
  } else if (["market_data", "gap", "seam", "certificate", "skipped"].includes(message.type) || (message.type === "bar" && message.seq !== undefined)) {
    check(message);
    if (message.type === "market_data") counts.ticks += 1;
    if (message.type === "bar") {
      counts.bars += 1;
      const bar = message.data;
      console.log(bar.open_time, bar.open, bar.high, bar.low, bar.close, bar.state, ...bar.flags);
    }
  }
}

function follow() {
  const socket = new Socket(`${url}?channels=status`, "candela.v1");
  socket.onopen = () => {
    delay = 200;
    socket.send(JSON.stringify({ action: "subscribe", channels, since: positions }));
  };
  socket.onmessage = event => hear(JSON.parse(event.data));
  socket.onerror = () => {};
  socket.onclose = event => {
    console.log("disconnected:", event.code, event.reason);
    if (event.code >= 4500) end();
    setTimeout(follow, delay * (0.5 + Math.random()));
    delay = Math.min(delay * 2, 15000);
  };
}

function end() {
  console.log(JSON.stringify(counts));
  process.exit(counts.holes ? 1 : 0);
}
if (seconds) setTimeout(end, seconds * 1000);
follow();
