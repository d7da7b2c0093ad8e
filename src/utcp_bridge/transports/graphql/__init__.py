"""The `graphql` transport."""
