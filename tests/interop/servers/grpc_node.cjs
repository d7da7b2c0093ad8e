// The same shop on @grpc/grpc-js, with @grpc/reflection (v1 and v1alpha) and a health service that reflection does not know.
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const { ReflectionService } = require("@grpc/reflection");
const { HealthImplementation } = require("grpc-health-check");

const definition = loader.loadSync(path.join(__dirname, "shop.proto"), { longs: String, enums: String, oneofs: true });
const server = new grpc.Server();
server.addService(grpc.loadPackageDefinition(definition).shop.Shop.service, {
  Echo: (call, done) => done(null, call.request),
  List: (call) => {
    for (let number = 0; number < call.request.to; number++) call.write({ name: `item ${number}`, amount: number });
    call.end();
  },
  Fail: (_, done) => done({ code: grpc.status.FAILED_PRECONDITION, details: "sold out" }),
});
new ReflectionService(definition).addToServer(server);
new HealthImplementation({ "": "SERVING" }).addToServer(server);
server.bindAsync(`127.0.0.1:${process.argv[2]}`, grpc.ServerCredentials.createInsecure(), () => {});
