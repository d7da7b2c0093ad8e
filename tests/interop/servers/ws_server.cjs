// A WebSocket server on ws: permessage-deflate, a token in a header, a fragmented message.
const { createServer } = require("node:http");
const { WebSocketServer } = require("ws");

const server = createServer();
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 0 } });
server.on("upgrade", (request, socket, head) => {
  if (request.headers["x-token"] !== "t0ken") {
    socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    return;
  }
  sockets.handleUpgrade(request, socket, head, (opened) => {
    opened.on("message", (data) => {
      const text = JSON.stringify({ deflated: opened.extensions.includes("permessage-deflate"), said: String(data) });
      opened.send(text.slice(0, 10), { fin: false });
      opened.send(text.slice(10), { fin: true });
    });
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
