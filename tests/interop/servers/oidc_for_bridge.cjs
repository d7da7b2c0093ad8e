// oidc-provider, a certified authorization server, for a bridge as its resource: port, resource, another resource.
// Clients register themselves, except for `machine` with its secret; tokens are JWTs for a resource (RFC 8707).
// /test/requests has how often each path was asked for; /test/rotate begins a new signing key, and the ones before are
// no longer published; /test/age?seconds=120 issues tokens that were issued and ended so many seconds ago.
// With CLIENT_DOCUMENTS, clients do not register: their ids are the https URLs of their metadata, which may be of loopback.
const { createServer } = require("node:http");
const { generateKeyPairSync } = require("node:crypto");
const { pathToFileURL } = require("node:url");

const [port, ...resources] = process.argv.slice(2);
const scope = "tools:read tools:write";
const requests = {};
const documents = process.env.CLIENT_DOCUMENTS !== undefined;
let age = 0;
let keys = 0;

/** What the server keeps, so that it outlives a change of its keys. */
class Adapter {
  static kept = new Map();

  constructor(kind) { this.kind = kind; }

  all() { return [...Adapter.kept].filter(([key]) => key.startsWith(`${this.kind}:`)); }

  async find(id) { return Adapter.kept.get(`${this.kind}:${id}`); }

  async findByUid(uid) { return this.all().map(([, value]) => value).find((value) => value.uid === uid); }

  /** Keep an entry. A client that registers for the scope of its first login may ask for more later. */
  async upsert(id, { scope, ...rest }) {
    Adapter.kept.set(`${this.kind}:${id}`, this.kind === "Client" ? rest : { ...rest, scope });
  }

  async destroy(id) { Adapter.kept.delete(`${this.kind}:${id}`); }

  async consume(id) { (await this.find(id)).consumed = Math.floor(Date.now() / 1000); }

  async revokeByGrantId(grant) {
    for (const [key, value] of this.all()) if (value.grantId === grant) Adapter.kept.delete(key);
  }
}

function newKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  keys += 1;
  return { ...privateKey.export({ format: "jwk" }), kid: `key-${keys}`, alg: "RS256", use: "sig" };
}

import(pathToFileURL(require.resolve("oidc-provider")).href).then(({ Provider, errors }) => {
  const made = () => new Provider(`http://127.0.0.1:${port}`, {
    clients: [{
      client_id: "machine", client_secret: "a secret of a machine", scope,
      grant_types: ["client_credentials"], redirect_uris: [], response_types: [],
    }],
    adapter: Adapter,
    scopes: [...scope.split(" "), "offline_access"],
    pkce: { required: () => true },
    jwks: { keys: [newKey()] },
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    ttl: { AccessToken: 600, ClientCredentials: 600, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600 },
    cookies: { keys: ["interop"] },
    formats: {
      customizers: {
        jwt: async (context, token, parts) => {
          if (age) Object.assign(parts.payload, { iat: parts.payload.iat - age - 600, exp: parts.payload.iat - age });
        },
      },
    },
    // the provider's own dispatcher refuses loopback, where the documents of the test are
    ...(documents ? { fetch: (url, { dispatcher, ...options }) => fetch(url, options) } : {}),
    features: {
      registration: { enabled: !documents },
      clientIdMetadataDocument: { enabled: documents, ack: "draft-02" },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (context, resource) => {
          if (!resources.includes(resource)) throw new errors.InvalidTarget();
          return { scope, audience: resource, accessTokenFormat: "jwt" };
        },
      },
    },
  });
  let serve = made().callback();
  createServer((request, response) => {
    const url = new URL(request.url, "http://127.0.0.1");
    if (url.pathname.startsWith("/test/")) {
      if (url.pathname === "/test/rotate") serve = made().callback();
      if (url.pathname === "/test/age") age = Number(url.searchParams.get("seconds"));
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify(requests));
    } else {
      requests[url.pathname] = (requests[url.pathname] ?? 0) + 1;
      serve(request, response);
    }
  }).listen(Number(port), "127.0.0.1");
});
