// A peer on one WebRTC stack of Node (argument 1), met over a PeerJS server (port: argument 2) under a name (argument 3).
const WebSocket = require("ws");
const { RTCPeerConnection } = require(process.argv[2]);
const { answer } = require("./webrtc_answers.cjs");

const [port, name] = process.argv.slice(3);
const query = new URLSearchParams({ key: "peerjs", id: name, token: "t", version: "1.5.5" });
const socket = new WebSocket(`ws://127.0.0.1:${port}/peerjs?${query}`);
setInterval(() => socket.readyState === WebSocket.OPEN && socket.send('{"type":"HEARTBEAT"}'), 5000);
const connections = new Map();

async function take({ src, payload }) {
  const { connectionId, sdp } = payload;
  const connection = new RTCPeerConnection({ iceServers: [] });
  connections.set(connectionId, connection);
  const tell = (type, content) =>
    socket.send(JSON.stringify({ type, dst: src, payload: { ...content, type: "data", connectionId } }));
  connection.onicecandidate = ({ candidate }) => candidate?.candidate && tell("CANDIDATE", { candidate });
  connection.ondatachannel = ({ channel }) => {
    channel.onmessage = ({ data }) => answer(JSON.parse(data), (reply) => channel.send(JSON.stringify(reply)));
  };
  await connection.setRemoteDescription(sdp);
  await connection.setLocalDescription(await connection.createAnswer());
  const { type, sdp: text } = connection.localDescription;
  tell("ANSWER", { sdp: { type, sdp: text } });
}

socket.on("message", (data) => {
  const frame = JSON.parse(data);
  if (frame.type === "OFFER") take(frame);
});
process.on("SIGTERM", async () => {
  await Promise.all([...connections.values()].map((connection) => connection.close()));
  setTimeout(() => process.exit(), 100);
});
