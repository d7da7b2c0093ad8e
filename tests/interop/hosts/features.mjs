/* Uses every feature of @modelcontextprotocol/server-everything and prints what came: `features.mjs SERVER`, where SERVER
   is `{"command": …, "args": […], "env": …}`. The test copies this file next to the client's packages. */
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

const SECONDS = 30;
const RESOURCE = "demo://resource/dynamic/text/1";
const found = {};
const seen = { logs: [], updated: [], sampling: [], elicitation: [], roots: 0 };
const waiting = [];

function heard() {
  for (const check of [...waiting]) check();
}

/** Wait until `holds()`; notifications wake it. */
function until(holds) {
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`not within ${SECONDS} s`)), SECONDS * 1000);
    const check = () => {
      if (!holds()) return;
      clearTimeout(limit);
      waiting.splice(waiting.indexOf(check), 1);
      resolve();
    };
    waiting.push(check);
    check();
  });
}

const client = new Client(
  { name: "features", version: "1" },
  { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
);
client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => {
  seen.sampling.push({ messages: params.messages, systemPrompt: params.systemPrompt, maxTokens: params.maxTokens });
  return { role: "assistant", model: "none", content: { type: "text", text: "sampled!" } };
});
client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => {
  seen.elicitation.push({ message: params.message, requestedSchema: params.requestedSchema });
  return { action: "accept", content: { name: "Ada", check: true } };
});
client.setRequestHandler(types.ListRootsRequestSchema, () => {
  seen.roots += 1;
  return { roots: [{ uri: "file:///srv/project", name: "project" }] };
});
client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) => {
  seen.logs.push(params);
  heard();
});
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => {
  seen.updated.push(params.uri);
  heard();
});

async function feature(name, use) {
  try {
    found[name] = (await use()) ?? null;
  } catch (error) {
    found[name] = { raised: error.message };
  }
}

async function allPages(ask, field) {
  const all = [];
  let cursor;
  do {
    const page = await ask(cursor ? { cursor } : {});
    all.push(...page[field]);
    cursor = page.nextCursor;
  } while (cursor);
  return all;
}

const call = (name, args = {}, options = {}) => client.callTool({ name, arguments: args }, undefined, options);
const content = async (name, args) => {
  const { content: blocks, structuredContent, isError } = await call(name, args);
  return { blocks, structuredContent, isError: Boolean(isError) };
};

async function tools() {
  const listed = await client.listTools();
  for (const { name, title, description, annotations, icons } of listed.tools)
    await feature(`tool ${name}`, () => ({ title, description, annotations, icons }));
  await feature("task support of tools", () =>
    Object.fromEntries(listed.tools.map(({ name, execution }) => [name, execution?.taskSupport ?? "forbidden"])),
  );
  await feature("text", () => content("echo", { message: "hi" }));
  await feature("annotated message", () =>
    content("get-annotated-message", { messageType: "error", includeImage: true }),
  );
  await feature("structured content", () => content("get-structured-content", { location: "New York" }));
  await feature("picture", () => content("get-tiny-image"));
  await feature("resource links", () => content("get-resource-links", { count: 2 }));
  await feature("embedded resource", async () => {
    const result = await content("get-resource-reference", { resourceType: "Text", resourceId: 1 });
    for (const { resource } of result.blocks) if (resource?.text) resource.text = resource.text.replace(/at .*/, "at …");
    return result;
  });
  await feature("wrong arguments", async () => (await call("get-sum", { a: "x" })).isError);
  await feature("progress", async () => {
    const steps = [];
    const onprogress = ({ progress, total }) => steps.push([progress, total]);
    await call("trigger-long-running-operation", { duration: 1, steps: 4 }, { onprogress });
    return steps.slice(0, 3); // the last one may come with the result, and the client drops it then
  });
  await feature("cancellation", async () => {
    const controller = new AbortController();
    const onprogress = () => controller.abort();
    const options = { signal: controller.signal, onprogress };
    return call("trigger-long-running-operation", { duration: 20, steps: 40 }, options).catch(() => "cancelled");
  });
}

async function resources() {
  const list = () => allPages((page) => client.listResources(page), "resources");
  await feature("resources/list", async () => (await list()).map(({ uri, name, mimeType }) => ({ uri, name, mimeType })));
  await feature("resources/templates/list", () =>
    allPages((page) => client.listResourceTemplates(page), "resourceTemplates"),
  );
  const read = async (uri) => {
    const { contents } = await client.readResource({ uri });
    return contents.map((one) => ({ ...one, text: one.text?.replace(/at .*/, "at …"), blob: Boolean(one.blob) }));
  };
  await feature("resources/read", async () => read((await list())[0].uri));
  await feature("resources/read of a template", () => read(RESOURCE));
  await feature("resources/read of a blob", () => read("demo://resource/dynamic/blob/1"));
  await feature("resources/read of an unknown one", () => read("demo://nothing"));
  await feature("resources/subscribe", async () => {
    await client.subscribeResource({ uri: RESOURCE });
    await call("toggle-subscriber-updates");
    await until(() => seen.updated.length);
    await call("toggle-subscriber-updates");
    await client.unsubscribeResource({ uri: RESOURCE });
    return seen.updated[0];
  });
}

async function prompts() {
  await feature("prompts/list", () => allPages((page) => client.listPrompts(page), "prompts"));
  await feature("prompts/get", () => client.getPrompt({ name: "simple-prompt" }));
  await feature("prompts/get with arguments", () =>
    client.getPrompt({ name: "args-prompt", arguments: { city: "Paris", state: "Texas" } }),
  );
  await feature("completion of a prompt", () =>
    client.complete({
      ref: { type: "ref/prompt", name: "completable-prompt" },
      argument: { name: "department", value: "E" },
    }),
  );
  await feature("completion of a template", () =>
    client.complete({
      ref: { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" },
      argument: { name: "resourceId", value: "1" },
    }),
  );
}

async function requestsOfTheServer() {
  await feature("sampling", async () => {
    const result = await content("trigger-sampling-request", { prompt: "hi", maxTokens: 10 });
    return { result, asked: seen.sampling };
  });
  await feature("elicitation", async () => {
    const result = await content("trigger-elicitation-request");
    return { result, asked: seen.elicitation };
  });
  await feature("roots", async () => ({ result: await content("get-roots-list"), asked: seen.roots > 0 }));
}

async function logs() {
  await feature("logging/setLevel", () => client.setLoggingLevel("debug"));
  await feature("log messages", async () => {
    seen.logs.length = 0;
    await call("toggle-simulated-logging");
    await until(() => seen.logs.some(({ data }) => String(data?.message ?? data).includes("message")));
    await call("toggle-simulated-logging");
    return Object.keys(seen.logs[0]).sort();
  });
}

async function tasks() {
  await feature("a tool that requires a task", async () => {
    const steps = [];
    const request = { name: "simulate-research-query", arguments: { topic: "tea" } };
    for await (const one of client.experimental.tasks.callToolStream(request)) steps.push(one.type);
    return [...new Set(steps)];
  });
  await feature("tasks/list", async () => (await client.experimental.tasks.listTasks()).tasks.length);
}

await client.connect(new StdioClientTransport({ ...JSON.parse(process.argv[2]), stderr: "inherit" }));
for (const [name, value] of Object.entries(client.getServerCapabilities())) found[`capability ${name}`] = value;
found.instructions = client.getInstructions() ?? "";
await tools();
await resources();
await prompts();
await requestsOfTheServer();
await logs();
await tasks();
await client.close();
console.log(JSON.stringify(found));
process.exit(0);
