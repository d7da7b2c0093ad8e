// A client on the first TypeScript SDK that logs in: URL of the server, port of its redirect. It prints a URL for a
// browser when it needs a login. A line on stdin is a command: `call`; `expire`, after which its token is not valid; or
// `forget`, after which it has no token for renewal: this SDK renews at a 403 too, and a renewal gives no more scope.
const { createServer } = require("node:http");
const { createInterface } = require("node:readline");
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const [url, port] = process.argv.slice(2);
const redirectUrl = `http://127.0.0.1:${port}/callback`;
let arrived;
createServer((request, response) => {
  response.end("The login is complete");
  const code = new URL(request.url, redirectUrl).searchParams.get("code");
  if (code) arrived(code);
}).listen(Number(port), "127.0.0.1");

const kept = {};
let code;
const provider = {
  redirectUrl,
  clientMetadata: {
    client_name: "interop", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
  },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  codeVerifier: () => kept.verifier,
  redirectToAuthorization: (target) => {
    code = new Promise((resolve) => { arrived = resolve; });
    console.log(`Visit ${target}`);
  },
};

let client;
async function connected() {
  client = new Client({ name: "interop", version: "1" });
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  await loggedIn(transport, () => client.connect(transport));
}

/** Do some work. If it needs a login, log in, and do it again with a new connection. */
async function loggedIn(transport, work) {
  try {
    return await work();
  } catch (error) {
    if (error.constructor.name !== "UnauthorizedError" && !code) throw error;
    await transport.finishAuth(await code);
    code = undefined;
    await connected();
  }
  return undefined;
}

async function call() {
  if (!client) await connected();
  const work = () => client.callTool({ name: "desk_note", arguments: {} });
  const result = (await loggedIn(client.transport, work)) ?? (await work());
  return result.content[0].text;
}

createInterface({ input: process.stdin }).on("line", async (line) => {
  try {
    if (line === "forget") delete kept.tokens.refresh_token;
    if (line === "expire") kept.tokens.access_token = "x".repeat(43);
    console.log(JSON.stringify({ said: line === "call" ? await call() : "" }));
  } catch (error) {
    console.log(JSON.stringify({ failed: `${error.constructor.name}: ${error.message}` }));
  }
}).on("close", () => process.exit(0));
