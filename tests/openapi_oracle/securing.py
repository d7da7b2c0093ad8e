"""Does a tool's auth put credentials exactly where the document's security says?"""


def alternatives(auth):
    """The ways to satisfy an auth dictionary, each a set of (place, name, prefix)."""
    if auth is None:
        return {frozenset()}
    match auth["auth_type"]:
        case "any":
            bare = {frozenset()} if auth.get("optional") else set()
            return bare.union(*(alternatives(option) for option in auth["options"]))
        case "all":
            found = {frozenset()}
            for member in auth["schemes"]:
                found = {one | other for one in found for other in alternatives(member)}
            return found
        case "basic":
            return {frozenset({("header", "Authorization", "Basic ")})}
        case "oauth2" | "oauth2_login":
            return {frozenset({("header", "Authorization", "Bearer ")})}
    return {frozenset({(auth["location"], auth["var_name"], auth["api_key"].partition("${")[0])})}


def is_right(declared, tool):
    """An operation without satisfiable requirements sends nothing; the others send one of the declared alternatives."""
    wanted = set(declared.security) or {frozenset()}
    return alternatives(tool["tool_call_template"].get("auth")) == wanted
