// jayson: one table of JSON-RPC methods over WebSocket, TCP and HTTP.
const jayson = require("jayson");

const server = new jayson.Server({
  add: ([a, b], done) => done(null, a + b),
  fail: (_, done) => done({ code: 501, message: "not today" }),
});
const [http, tcp, ws] = process.argv.slice(2).map(Number);
server.http().listen(http, "127.0.0.1");
server.tcp().listen(tcp, "127.0.0.1");
server.websocket({ host: "127.0.0.1", port: ws });
