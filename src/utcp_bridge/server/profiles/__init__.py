"""One server for each profile, and the way of a request to the server of its profile."""
