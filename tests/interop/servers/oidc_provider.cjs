// oidc-provider, a certified authorization server, with a resource of its own: port, client, secret, way of the secret.
const { pathToFileURL } = require("node:url");

const [port, client_id, client_secret, token_endpoint_auth_method] = process.argv.slice(2);

import(pathToFileURL(require.resolve("oidc-provider")).href).then(({ Provider }) => {
  const issued = [];
  let requests = 0;
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{
      client_id, client_secret, token_endpoint_auth_method, scope: "read",
      grant_types: ["client_credentials"], redirect_uris: [], response_types: [],
    }],
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    scopes: ["read"],
    ttl: { ClientCredentials: 600 },
  });
  provider.on("client_credentials.saved", (token) => issued.push(token));
  provider.use(async (context, next) => {
    if (context.path === "/revoke-all") {
      await Promise.all(issued.map((token) => token.destroy()));
      context.body = {};
    } else if (context.path === "/resource") {
      const presented = context.get("Authorization").replace(/^Bearer /, "");
      const token = await provider.ClientCredentials.find(presented);
      context.status = token?.isValid ? 200 : 401;
      context.body = { client: token?.clientId, scope: token?.scope, requests };
    } else {
      requests += context.path === "/token" ? 1 : 0;
      await next();
    }
  });
  provider.listen(Number(port), "127.0.0.1");
});
