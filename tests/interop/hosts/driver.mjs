/* One MCP client for JavaScript, at the command of a test; driver.py has the form of requests and replies.
   The test copies this file next to the client's packages, because Node looks for them there. */
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const [, , NAME, GIVEN] = process.argv;
const TARGET = JSON.parse(GIVEN);
const PACKAGES = join(dirname(fileURLToPath(import.meta.url)), "node_modules");
const SECONDS = 60;
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr); // what a client prints is not a reply
console.log = console.info = console.warn = console.error;

let heard = 0;
let progress = [];
const children = [];
const address = () => new URL(TARGET.url);

const blocks = (result) => ({
  text: (result.content ?? []).map((block) => block.text ?? "").join(" "),
  structured: result.structuredContent ?? null,
  is_error: Boolean(result.isError),
  kinds: (result.content ?? []).map((block) => block.type),
});

async function allPages(page) {
  const names = [];
  let cursor;
  do {
    const found = await page(cursor ? { cursor } : {});
    names.push(...found.tools.map((tool) => tool.name));
    cursor = found.nextCursor;
  } while (cursor);
  return names;
}

// --- clients, by name ---------------------------------------------------------------------------

async function secondSdk(mode) {
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
  const listChanged = { tools: { onChanged: () => (heard += 1) } };
  const client = new Client({ name: "driver", version: "1" }, { versionNegotiation: { mode }, listChanged });
  await client.connect(TARGET.url ? new StreamableHTTPClientTransport(address()) : new StdioClientTransport(TARGET));
  return {
    version: client.getNegotiatedProtocolVersion(),
    names: () => allPages((page) => client.listTools(page, { cacheMode: "refresh" })),
    call: async (name, args, { signal, onprogress }) =>
      blocks(await client.callTool({ name, arguments: args }, { signal, onprogress })),
  };
}

async function firstSdk(transport) {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { ToolListChangedNotificationSchema } = await import("@modelcontextprotocol/sdk/types.js");
  const client = new Client({ name: "driver", version: "1" });
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    heard += 1;
  });
  const given = transport ?? TARGET;
  await client.connect(
    given.url ? new StreamableHTTPClientTransport(new URL(given.url)) : new StdioClientTransport(given),
  );
  return {
    version: client.transport?.protocolVersion ?? client.transport?._protocolVersion ?? null,
    names: () => allPages((page) => client.listTools(page)),
    call: async (name, args, { signal, onprogress }) =>
      blocks(await client.callTool({ name, arguments: args }, undefined, { signal, onprogress })),
  };
}

async function aiSdk() {
  const { createMCPClient } = await import("@ai-sdk/mcp");
  const stdio = await import("@ai-sdk/mcp/mcp-stdio");
  const Stdio = stdio.StdioMCPTransport ?? stdio.Experimental_StdioMCPTransport;
  const transport = TARGET.url ? { type: "http", url: TARGET.url } : new Stdio(TARGET);
  const client = await createMCPClient({ transport });
  let tools = {};
  const names = async () => {
    tools = await client.tools();
    return Object.keys(tools);
  };
  return {
    names,
    call: async (name, args, { signal }) => {
      if (!Object.keys(tools).length) await names();
      return blocks(await tools[name].execute(args, { toolCallId: "1", messages: [], abortSignal: signal }));
    },
  };
}

async function langchain() {
  const { MultiServerMCPClient } = await import("@langchain/mcp-adapters");
  const server = TARGET.url ? { transport: "http", url: TARGET.url } : { transport: "stdio", ...TARGET };
  const client = new MultiServerMCPClient({ mcpServers: { utcp: server } });
  let tools = {};
  const names = async () => {
    tools = Object.fromEntries((await client.getTools()).map((tool) => [tool.name, tool]));
    return Object.keys(tools);
  };
  await names();
  return {
    names,
    call: async (name, args, { signal }) => {
      const message = await tools[name].invoke({ type: "tool_call", id: "1", name, args }, { signal });
      const content = Array.isArray(message.content) ? message.content : [{ type: "text", text: message.content }];
      const structured = message.artifact?.find?.((one) => one.type === "mcp_structured_content")?.data;
      if (structured) content[0].text = JSON.parse(content[0].text).text; // the text is a block with all its members
      return { ...blocks({ content, structuredContent: structured }), is_error: message.status === "error" };
    },
  };
}

async function mcpUse() {
  const { MCPClient } = await import(NAME === "mcp-use-1-js" ? "mcp-use/client" : "@mcp-use/client");
  const session = await new MCPClient({ mcpServers: { utcp: TARGET } }).createSession("utcp");
  return {
    names: async () => (await session.listTools()).map((tool) => tool.name),
    call: async (name, args) => blocks(await session.callTool(name, args)),
  };
}

/** A proxy that a host starts as a command, in front of the bridge on HTTP. */
async function mcpRemote() {
  const env = { ...process.env, MCP_REMOTE_CONFIG_DIR: mkdtempSync(join(tmpdir(), "mcp-remote-")) };
  const proxy = join(PACKAGES, "mcp-remote", "dist", "proxy.js");
  return firstSdk({ command: process.execPath, args: [proxy, TARGET.url, "--allow-http"], env });
}

/** A proxy that starts the bridge as a command, and serves HTTP. */
async function supergateway() {
  const port = await freePort();
  const command = [TARGET.command, ...TARGET.args].join(" ");
  const program = join(PACKAGES, "supergateway", "dist", "index.js");
  const options = ["--stdio", command, "--outputTransport", "streamableHttp", "--stateful", "--port", String(port)];
  children.push(spawn(process.execPath, [program, ...options], { stdio: ["ignore", 2, 2] }));
  while (!(await accepts(port))) await new Promise((resolve) => setTimeout(resolve, 50));
  return firstSdk({ url: `http://127.0.0.1:${port}/mcp` });
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

const accepts = (port) =>
  new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1", () => resolve(true) ?? socket.destroy());
    socket.on("error", () => resolve(false));
  });

const CLIENTS = {
  "ts-sdk-2": () => secondSdk("auto"),
  "ts-sdk-2-handshake": () => secondSdk("legacy"),
  "ts-sdk-1": () => firstSdk(),
  "ts-sdk-1.12": () => firstSdk(),
  "ai-sdk": aiSdk,
  "langchain-js": langchain,
  "mcp-use-1-js": mcpUse,
  "mcp-use-client-js": mcpUse,
  "mcp-remote": mcpRemote,
  supergateway,
};

// --- the conversation with the test -------------------------------------------------------------

const words = (error) => `${error?.constructor?.name}: ${error?.message ?? error}`.slice(0, 500);
const say = (reply) => new Promise((resolve) => write(`${JSON.stringify(reply)}\n`, resolve));
const within = (promise) =>
  Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error("no result in time")), SECONDS * 1000).unref()),
  ]);

const calls = {};

async function result(client, request) {
  if (request.do === "list") return client.names();
  if (request.do === "heard") return heard;
  if (request.do === "cancel") return calls[request.call].abort() ?? null;
  if (request.do === "progress") return progress;
  progress = [];
  calls[request.id] = new AbortController();
  const onprogress = (one) => progress.push([one.progress, one.total ?? null, one.message ?? null]);
  const how = { signal: calls[request.id].signal, onprogress };
  return client.call(request.tool, request.arguments, how);
}

async function end(code) {
  for (const child of children) child.kill();
  process.exit(code);
}

process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));
try {
  const client = await within(CLIENTS[NAME]());
  await say({ ready: client.version ?? null });
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const request = JSON.parse(line);
    try {
      await say({ id: request.id, result: await within(result(client, request)) });
    } catch (error) {
      await say({ id: request.id, error: words(error) });
    }
  });
  lines.on("close", () => end(0));
} catch (error) {
  await say({ failed: words(error) });
  end(1);
}
