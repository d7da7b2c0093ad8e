// oidc-provider, a certified authorization server, with its own pages for login and consent: port, resource.
// Clients register themselves, tokens are JWTs for the resource, and refresh tokens rotate: the grant of one that is
// used twice is revoked. /requests has how often each path was asked for, /end-renewal makes refresh tokens invalid.
const { pathToFileURL } = require("node:url");

const [port, resource] = process.argv.slice(2);

import(pathToFileURL(require.resolve("oidc-provider")).href).then(({ Provider }) => {
  const requests = {};
  const renewing = [];
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [],
    scopes: ["notes"],
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    ttl: { AccessToken: 600, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600 },
    cookies: { keys: ["interop"] },
    features: {
      registration: { enabled: true },
      revocation: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: "notes", audience: resource, accessTokenFormat: "jwt" }),
      },
    },
  });
  provider.on("refresh_token.saved", (token) => renewing.push(token));
  provider.use(async (context, next) => {
    if (context.path === "/requests") {
      context.body = requests;
    } else if (context.path === "/end-renewal") {
      await Promise.all(renewing.map((token) => token.destroy()));
      context.body = {};
    } else {
      requests[context.path] = (requests[context.path] ?? 0) + 1;
      await next();
    }
  });
  provider.listen(Number(port), "127.0.0.1");
});
