/* A server on the TypeScript SDK with all that the conformance suites ask for, in both eras: `conformance.mjs PORT`, and
   with `conformance.mjs PORT asking` only with what asks the client or changes lists, which no other protocol can do.
   The test copies this file next to the packages, because Node looks for them there. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { localhostHostValidation, NodeStreamableHTTPServerTransport, toNodeHandler, toWebRequest } from "@modelcontextprotocol/node";
import {
  createMcpHandler,
  createRequestStateCodec,
  inputRequired,
  inputResponse,
  isLegacyRequest,
  MissingRequiredClientCapabilityError,
  ProtocolError,
  Server,
} from "@modelcontextprotocol/server";

const PICTURE =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const SOUND = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
const ONLY_ASKS = process.argv[3] === "asking";
const CAPABILITIES = "io.modelcontextprotocol/clientCapabilities";
const states = createRequestStateCodec({ key: "a key of the test server, long enough for its codec" });

const text = (words) => ({ content: [{ type: "text", text: words }] });
const image = { type: "image", data: PICTURE, mimeType: "image/png" };
const object = (properties, required = []) => ({ type: "object", properties, required });
const strings = (...names) => object(Object.fromEntries(names.map((name) => [name, { type: "string" }])), names);
const form = (message, requestedSchema) => inputRequired.elicit({ message, requestedSchema });
const question = (words, maxTokens) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: { type: "text", text: words } }], maxTokens });
const answer = (ctx, key) => inputResponse(ctx.mcpReq.inputResponses, key);
const answered = (ctx, ...keys) => keys.every((key) => answer(ctx, key).kind !== "missing");
const capabilities = (ctx) => ctx.mcpReq.envelope?.[CAPABILITIES] ?? {};

/** Return a handler that asks for `requests`, then says `done`; `state` travels with the client meanwhile. */
const asking = (requests, done, state) => async (_args, ctx) => {
  if (answered(ctx, ...Object.keys(requests))) return text(done(ctx));
  const requestState = state && (await states.mint(state, ctx));
  return inputRequired({ inputRequests: requests, ...(requestState ? { requestState } : {}) });
};
const nameForm = form("What is your name?", strings("name"));
const confirmForm = form("Please confirm", object({ ok: { type: "boolean" } }, ["ok"]));
const elicited = (prefix, key) => (ctx) => {
  const { action, content } = answer(ctx, key);
  return `${prefix}: action=${action}, content=${JSON.stringify(content ?? {})}`;
};

const titled = (...pairs) => pairs.map(([constant, title]) => ({ const: constant, title }));
const DEFAULTS = object({
  name: { type: "string", default: "John Doe" },
  age: { type: "integer", default: 30 },
  score: { type: "number", default: 95.5 },
  status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
  verified: { type: "boolean", default: true },
});
const ENUMERATIONS = object({
  untitledSingle: { type: "string", enum: ["option1", "option2", "option3"] },
  titledSingle: { type: "string", oneOf: titled(["value1", "First"], ["value2", "Second"], ["value3", "Third"]) },
  legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["One", "Two", "Three"] },
  untitledMulti: { type: "array", items: { type: "string", enum: ["option1", "option2", "option3"] } },
  titledMulti: { type: "array", items: { anyOf: titled(["value1", "First"], ["value2", "Second"], ["value3", "Third"]) } },
});
const PERSON = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: { address: { $anchor: "addressDef", ...object({ street: { type: "string" }, city: { type: "string" } }) } },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

async function withProgress(_args, ctx) {
  const progressToken = ctx.mcpReq._meta?.progressToken;
  for (const progress of [0, 50, 100]) {
    const message = `Completed step ${progress} of 100`;
    const params = { progressToken, progress, total: 100, message };
    if (progressToken !== undefined) await ctx.mcpReq.notify({ method: "notifications/progress", params });
  }
  return text(String(progressToken));
}

async function withLogs(_args, ctx) {
  for (const words of ["Tool execution started", "Tool processing data", "Tool execution completed"])
    await ctx.mcpReq.log("info", words);
  return text("logged");
}

async function inRounds(_args, ctx) {
  const round = ctx.mcpReq.requestState()?.round ?? 0;
  if (round === 2 && answered(ctx, "step2")) return text(`done: ${JSON.stringify(answer(ctx, "step2").content)}`);
  const goesOn = round === 1 && answered(ctx, "step1");
  const inputRequests = goesOn
    ? { step2: form("Step 2: What is your favorite color?", strings("color")) }
    : { step1: form("Step 1: What is your name?", strings("name")) };
  return inputRequired({ inputRequests, requestState: await states.mint({ round: goesOn ? 2 : 1 }, ctx) });
}

async function asFarAsPossible(_args, ctx) {
  const { sampling, elicitation } = capabilities(ctx);
  const inputRequests = {
    ...(sampling ? { sample: question("Say hello", 50) } : {}),
    ...(elicitation ? { ask: nameForm } : {}),
  };
  return inputRequired({ inputRequests, requestState: await states.mint("capabilities", ctx) });
}

function needsSampling(_args, ctx) {
  if (capabilities(ctx).sampling) return text("The client has the capability.");
  throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { sampling: {} } });
}

const TOOLS = {
  test_simple_text: { run: () => text("This is a simple text response for testing.") },
  test_image_content: { run: () => ({ content: [image] }) },
  test_audio_content: { run: () => ({ content: [{ type: "audio", data: SOUND, mimeType: "audio/wav" }] }) },
  test_embedded_resource: {
    run: () => ({
      content: [
        {
          type: "resource",
          resource: {
            uri: "test://embedded-resource",
            mimeType: "text/plain",
            text: "This is an embedded resource content.",
          },
        },
      ],
    }),
  },
  test_multiple_content_types: {
    run: () => ({
      content: [
        { type: "text", text: "Multiple content types test:" },
        image,
        {
          type: "resource",
          resource: {
            uri: "test://mixed-content-resource",
            mimeType: "application/json",
            text: '{"test":"data","value":123}',
          },
        },
      ],
    }),
  },
  test_error_handling: {
    run: () => ({ ...text("This tool intentionally returns an error for testing"), isError: true }),
  },
  test_tool_with_progress: { run: withProgress },
  test_tool_with_logging: { run: withLogs },
  test_logging_tool: { run: withLogs },
  json_schema_2020_12_tool: { inputSchema: PERSON, run: () => text("person") },
  test_x_mcp_header: {
    inputSchema: object({ region: { type: "string", "x-mcp-header": "Region" } }),
    run: ({ region }) => text(`region=${region}`),
  },
  test_sampling: {
    inputSchema: strings("prompt"),
    run: ({ prompt }, ctx) =>
      asking({ sample: question(prompt, 100) }, () => `LLM response: ${answer(ctx, "sample").result.content.text}`)({}, ctx),
  },
  test_elicitation: {
    inputSchema: strings("message"),
    run: ({ message }, ctx) =>
      asking({ ask: form(message, strings("username", "email")) }, elicited("User response", "ask"))({}, ctx),
  },
  test_elicitation_sep1034_defaults: {
    run: asking({ ask: form("Please review the values", DEFAULTS) }, elicited("Elicitation completed", "ask")),
  },
  test_elicitation_sep1330_enums: {
    run: asking({ ask: form("Please select", ENUMERATIONS) }, elicited("Elicitation completed", "ask")),
  },
  test_missing_capability: { run: needsSampling },
  test_streaming_elicitation: { run: asking({ ask: nameForm }, elicited("User response", "ask")) },
  test_input_required_result_elicitation: {
    run: asking({ user_name: nameForm }, (ctx) => `Hello, ${answer(ctx, "user_name").content?.name}!`),
  },
  test_input_required_result_sampling: {
    run: asking(
      { capital_question: question("What is the capital of France?", 100) },
      (ctx) => `Model said: ${answer(ctx, "capital_question").result.content.text}`,
    ),
  },
  test_input_required_result_list_roots: {
    run: asking(
      { client_roots: inputRequired.listRoots() },
      (ctx) => `Client exposed ${answer(ctx, "client_roots").roots.length} root(s).`,
    ),
  },
  test_input_required_result_request_state: {
    run: asking({ confirm: confirmForm }, () => "state-ok: confirmation received", "nonce"),
  },
  test_input_required_result_multiple_inputs: {
    run: asking(
      { user_name: nameForm, greeting: question("Generate a greeting", 50), client_roots: inputRequired.listRoots() },
      () => "All inputs received.",
      "multiple",
    ),
  },
  test_input_required_result_multi_round: { run: inRounds },
  test_input_required_result_tampered_state: { run: asking({ confirm: confirmForm }, () => "state-ok", "round-1") },
  test_input_required_result_capabilities: { run: asFarAsPossible },
  test_trigger_tool_change: { run: () => (modern.notify.toolsChanged(), text("tool list changed")) },
  test_trigger_prompt_change: { run: () => (modern.notify.promptsChanged(), text("prompt list changed")) },
};

const asks = (name) => /sampling|elicitation|input_required|missing_capability|trigger/.test(name);
const offered = (all) => Object.fromEntries(Object.entries(all).filter(([name]) => !ONLY_ASKS || asks(name)));
const RESOURCES = {
  "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
  "test://static-binary": { mimeType: "image/png", blob: PICTURE },
  "test://watched-resource": { mimeType: "text/plain", text: "Watched resource content" },
};
const TEMPLATE = "test://template/{id}/data";

function read(uri) {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  const filled = { mimeType: "application/json", text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) };
  const found = id ? filled : RESOURCES[uri];
  if (!found) throw new ProtocolError(-32602, `Resource not found: ${uri}`, { uri });
  return { contents: [{ uri, ...found }] };
}

const says = (...contents) => ({ messages: contents.map((content) => ({ role: "user", content })) });
const words = (line) => ({ type: "text", text: line });
const PROMPTS = {
  test_simple_prompt: { fill: () => says(words("This is a simple prompt for testing.")) },
  test_prompt_with_arguments: {
    names: ["arg1", "arg2"],
    fill: ({ arg1, arg2 }) => says(words(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  },
  test_prompt_with_embedded_resource: {
    names: ["resourceUri"],
    fill: ({ resourceUri: uri }) =>
      says(
        { type: "resource", resource: { uri, mimeType: "text/plain", text: "Embedded resource content for testing." } },
        words("Please process the embedded resource above."),
      ),
  },
  test_prompt_with_image: { fill: () => says(image, words("Please analyze the image above.")) },
  test_input_required_result_prompt: {
    fill: (_args, ctx) =>
      answered(ctx, "user_context")
        ? says(words(`Use the following context: ${answer(ctx, "user_context").content?.context}`))
        : inputRequired({ inputRequests: { user_context: form("What context?", strings("context")) } }),
  },
};

function made() {
  const server = new Server(
    { name: "conformance", version: "1" },
    {
      capabilities: {
        completions: {},
        logging: {},
        prompts: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        tools: { listChanged: true },
      },
      requestState: { verify: states.verify },
    },
  );
  server.setRequestHandler("tools/list", () => ({
    tools: Object.entries(offered(TOOLS)).map(([name, { inputSchema }]) => ({
      name,
      description: `Tests ${name}.`,
      inputSchema: inputSchema ?? object({}),
    })),
  }));
  server.setRequestHandler("tools/call", ({ params: { name, arguments: args } }, ctx) => {
    if (!TOOLS[name]) throw new ProtocolError(-32602, `Unknown tool: ${name}`);
    return TOOLS[name].run(args ?? {}, ctx);
  });
  server.setRequestHandler("resources/list", () => ({
    resources: Object.entries(offered(RESOURCES)).map(([uri, { mimeType }]) => ({ uri, name: uri.slice(7), mimeType })),
  }));
  server.setRequestHandler("resources/templates/list", () => ({
    resourceTemplates: ONLY_ASKS ? [] : [{ uriTemplate: TEMPLATE, name: "template", mimeType: "application/json" }],
  }));
  server.setRequestHandler("resources/read", ({ params: { uri } }) => read(uri));
  server.setRequestHandler("resources/subscribe", () => ({}));
  server.setRequestHandler("resources/unsubscribe", () => ({}));
  server.setRequestHandler("prompts/list", () => ({
    prompts: Object.entries(offered(PROMPTS)).map(([name, { names = [] }]) => ({
      name,
      description: `Tests ${name}.`,
      arguments: names.map((one) => ({ name: one, description: `Given as ${one}.`, required: true })),
    })),
  }));
  server.setRequestHandler("prompts/get", ({ params: { name, arguments: args } }, ctx) => {
    if (!PROMPTS[name]) throw new ProtocolError(-32602, `Unknown prompt: ${name}`);
    return PROMPTS[name].fill(args ?? {}, ctx);
  });
  server.setRequestHandler("completion/complete", () => ({ completion: { values: [], total: 0, hasMore: false } }));
  return server;
}

const modern = createMcpHandler(made, { legacy: "reject" });
const handleModern = toNodeHandler(modern);
const sessions = new Map();

/** Return the transport of a session of the handshake era; one that begins gets a new one. */
async function session(id) {
  if (sessions.has(id)) return sessions.get(id);
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (given) => sessions.set(given, transport),
    onsessionclosed: (given) => sessions.delete(given),
  });
  await made().connect(transport);
  return transport;
}

const isLocal = localhostHostValidation();
createServer(async (request, response) => {
  if (!isLocal(request, response)) return;
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let body;
  try {
    body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : undefined;
  } catch {
    response.writeHead(400).end();
    return;
  }
  const id = request.headers["mcp-session-id"];
  if (!(await isLegacyRequest(await toWebRequest(request, body), body))) await handleModern(request, response, body);
  else if (id && !sessions.has(id)) response.writeHead(404).end();
  else await (await session(id)).handleRequest(request, response, body);
}).listen(Number(process.argv[2]), "127.0.0.1");
