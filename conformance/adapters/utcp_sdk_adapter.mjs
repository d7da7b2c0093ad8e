// The adapter of @utcp/sdk. NODE_PATH names the folder `node_modules` that has it and its plugins.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const write = process.stdout.write.bind(process.stdout);
for (const name of ["log", "info", "debug", "warn"]) console[name] = (...words) => console.error(...words);

const folder = (process.env.NODE_PATH ?? "").split(":")[0] || join(process.cwd(), "node_modules");
const load = async (name) => {
  try {
    const file = join(folder, name, JSON.parse(readFileSync(join(folder, name, "package.json"), "utf-8")).module);
    return await import(pathToFileURL(file).href);
  } catch (error) {
    if (name === "@utcp/sdk") throw error;
    return null;
  }
};

const sdk = await load("@utcp/sdk");
const PLUGINS = {
  "@utcp/http": ["http", "sse", "streamable_http", "openapi"],
  "@utcp/text": ["text"],
  "@utcp/mcp": ["mcp"],
  "@utcp/cli": ["cli"],
  "@utcp/file": ["file"],
};
const kinds = [];
for (const [name, served] of Object.entries(PLUGINS)) {
  const plugin = await load(name);
  if (plugin !== null) {
    plugin.register?.(true);
    kinds.push(...served);
  }
}

const plain = (value) => {
  if (value instanceof Uint8Array) return { $base64: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  }
  return value ?? null;
};

let client = null;
const operations = {
  hello: async () => {
    const { version } = JSON.parse(readFileSync(join(folder, "@utcp/sdk/package.json"), "utf-8"));
    return { name: "utcp-sdk", version, supports: { v1: kinds } };
  },
  load: async ({ configuration, environment, folder: root }) => {
    await client?.close?.();
    Object.assign(process.env, environment);
    process.chdir(root);
    try {
      client = await sdk.UtcpClient.create(root, configuration);
    } finally {
      for (const name of Object.keys(environment)) delete process.env[name];
    }
    return { ok: null };
  },
  list: async () => ({ ok: (await client.getTools()).map((tool) => tool.name) }),
  call: async ({ tool, arguments: given }) => ({ ok: plain(await client.callTool(tool, given)) }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let reply;
  try {
    reply = await operations[request.op](request);
  } catch (error) {
    reply = { error: { class: "other", message: String(error).slice(0, 500) } };
  }
  write(`${JSON.stringify(reply)}\n`);
}
process.exit(0);
