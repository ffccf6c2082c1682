// Bun's own publish/subscribe, driven line by line by the measuring program (see server.rs). It also echoes.
let clients = 0;
let sent = 0;
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response("", { status: 400 });
  },
  websocket: {
    open(socket) {
      clients += 1;
      socket.subscribe("ticks");
    },
    close() {
      clients -= 1;
    },
    message(socket, message) {
      socket.send(message);
    },
  },
});
console.log(`127.0.0.1:${server.port}`);

async function send(burst, bursts, pauseUs) {
  const began = performance.now();
  for (let i = 0; i < bursts; i += 1) {
    const now = String(Math.round((performance.timeOrigin + performance.now()) * 1000));
    const tick = process.env.TICK.replace("1767361204123456", now);
    for (let j = 0; j < burst; j += 1) server.publish("ticks", tick);
    sent += 1;
    const due = (pauseUs * (i + 1)) / 1000 - (performance.now() - began);
    await Bun.sleep(Math.max(0, due));
  }
}

for await (const line of console) {
  const [word, ...numbers] = line.split(" ");
  if (word === "clients") console.log(clients);
  else if (word === "sent") console.log(sent);
  else if (word === "send") send(...numbers.map(Number));
}
process.exit(0);
