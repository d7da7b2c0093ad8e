// The real PeerJS client of browsers, given in Node what a browser has: a peer under a name (argument 2).
const wrtc = require("@roamhq/wrtc");
Object.assign(globalThis, wrtc, { WebSocket: require("ws"), window: globalThis, location: { protocol: "http:" } });
const { Peer } = require("peerjs");
const { answer } = require("./webrtc_answers.cjs");

const [port, name] = process.argv.slice(2);
const peer = new Peer(name, { host: "127.0.0.1", port: Number(port), path: "/", config: { iceServers: [] } });
peer.on("connection", (connection) => {
  const isText = connection.serialization === "raw";
  const send = (reply) => connection.send(isText ? JSON.stringify(reply) : reply);
  connection.on("data", (data) => {
    const act = () => answer(isText ? JSON.parse(data) : data, send);
    connection.open ? act() : connection.once("open", act); // unlike browsers, this stack may tell the message first
  });
});
