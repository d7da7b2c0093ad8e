// Apollo Server, with introspection open or closed.
const { ApolloServer } = require("@apollo/server");
const { startStandaloneServer } = require("@apollo/server/standalone");

const server = new ApolloServer({
  typeDefs: "type Book { title: String!, pages: Int } type Query { books(author: String!): [Book!]! }",
  resolvers: { Query: { books: (_, { author }) => [{ title: `By ${author}`, pages: 7 }] } },
  introspection: process.argv[3] !== "closed",
});
startStandaloneServer(server, { listen: { host: "127.0.0.1", port: Number(process.argv[2]) } });
