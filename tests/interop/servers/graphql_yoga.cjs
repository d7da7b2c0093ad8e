// graphql-yoga with subscriptions over server-sent events and, at the same path, graphql-transport-ws by graphql-ws.
const { createServer } = require("node:http");
const { createSchema, createYoga } = require("graphql-yoga");
const { useServer } = require("graphql-ws/use/ws");
const { WebSocketServer } = require("ws");

const schema = createSchema({
  typeDefs: `
    enum Unit { METRIC IMPERIAL }
    interface Named { name: String! }
    type City implements Named { name: String!, people(unit: Unit!): Int, rank: Int, twin: City }
    type River implements Named { name: String!, length: Float }
    union Place = City | River
    input Filter { names: [String!]!, limit: Int = 5 }
    type Query { hello(name: String = "you"): String!, places(filter: Filter!): [Place!]!, named: Named, broken: Int }
    type Mutation { add(a: Int!, b: Int!): Int! }
    type Subscription { countdown(from: Int!): Int! }
  `,
  resolvers: {
    Query: {
      hello: (_, { name }) => `Hello ${name}`,
      places: (_, { filter }) => filter.names.map((name) => ({ __typename: "City", name, rank: 1, twin: { name: "T" } })),
      named: () => ({ __typename: "River", name: "Spree", length: 400.5 }),
      broken: () => { throw new Error("a secret of the server"); },
    },
    Mutation: { add: (_, { a, b }) => a + b },
    Subscription: {
      countdown: {
        async *subscribe(_, { from }) {
          for (let number = from; number >= 0; number--) yield { countdown: number };
        },
      },
    },
  },
});
const yoga = createYoga({ schema, logging: false });
const server = createServer(yoga);
if (process.argv[3] === "ws") {
  useServer({ schema }, new WebSocketServer({ server, path: "/graphql" }));
}
server.listen(Number(process.argv[2]), "127.0.0.1");
