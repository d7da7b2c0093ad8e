// What every WebRTC peer of these tests answers, whatever its stack: its tools, and calls of them.
const object = { type: "object", properties: {} };
const tools = ["echo", "fail", "count"].map((name) => ({ name, description: `Does ${name}.`, inputs: object }));

function answer({ id, method, type, tool, args }, send) {
  if (method === "list_tools" || type === "utcp") {
    send({ id, tools });
  } else if (tool === "echo") {
    send({ id, result: args });
  } else if (tool === "count") {
    for (let n = 0; n < args.to; n++) send({ id, partial: true, result: { n } });
    send({ id, partial: false });
  } else {
    send({ id, error: tool === "fail" ? "no tea" : `unknown tool ${tool}` });
  }
}

module.exports = { answer };
