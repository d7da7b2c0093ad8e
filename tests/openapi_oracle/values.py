"""Arguments drawn from a document's schemas, in three modes.

`required`: only what must be there. `full`: everything, bodies two levels deep. `hostile`: everything, with text that
holds every reserved character and more than ASCII. Of each union one branch is drawn, another one in each variant.
A member that is required and not described is left out of the first variant, because it is usually misspelt.
"""

import random

HOSTILE = "a b&c=d/e?f#g+h%20i;j:k@l$m|n'o\"p<é>"
HEADER_HOSTILE = "a b&c=d/e?f#g+h%20i;j:k@l$m|n'o\"p<>"

DEEPEST = 16


class Values:
    def __init__(self, reader, mode, seed, variant=0):
        self.reader = reader
        self.mode = mode
        self.variant = variant
        self.draw = random.Random(seed)
        self.number = 0

    def text(self, place):
        self.number += 1
        if self.mode != "hostile":
            return f"v{self.number}"
        return f"{HEADER_HOSTILE if place == 'header' else HOSTILE}{self.number}"

    def of(self, schema, place, depth=0):
        schema = self.reader.schema(schema)
        if schema.get("enum"):
            return next((value for value in schema["enum"] if value is not None), "x")
        if "const" in schema:
            return schema["const"]
        for union in ("oneOf", "anyOf"):
            branches = [self.reader.schema(branch) for branch in schema.get(union) or []]
            branches = [branch for branch in branches if branch.get("type") != "null"]
            if branches and not schema.keys() & {"properties", "allOf"}:
                return self.of(self.chosen(branches), place, depth + 1)
        if schema.keys() & {"allOf", "oneOf", "anyOf"}:
            whole = self.merged(schema)
            if whole["properties"]:
                return self.object(whole, place, depth)
            if schema.get("allOf"):
                return self.all_of(schema["allOf"], place, depth)
        return self.typed(schema, place, depth)

    def chosen(self, branches):
        """One branch of each union, by the variant: the first one, or the next."""
        return branches[self.variant % len(branches)]

    def merged(self, schema, depth=0):
        """An object and all its parts as one: its members, and what is required. Of a union, the chosen branch."""
        schema = self.reader.schema(schema)
        whole = {"type": "object", "properties": {**schema.get("properties", {})}, "required": []}
        unions = [schema[key] for key in ("oneOf", "anyOf") if schema.get(key)]
        parts = [*schema.get("allOf", []), *map(self.chosen, unions)]
        for part in (self.merged(one, depth + 1) for one in parts if depth < DEEPEST):
            whole["properties"] = {**part["properties"], **whole["properties"]}
            whole["required"] += part["required"]
        own = schema.get("required")
        whole["required"] = list(dict.fromkeys([*(own if isinstance(own, list) else []), *whole["required"]]))
        return whole

    def all_of(self, parts, place, depth):
        made = [self.of(part, place, depth + 1) for part in parts if self.reader.schema(part).keys() - {"description"}]
        if made and all(isinstance(value, dict) for value in made):
            return {key: value for part in made for key, value in part.items()}
        return made[0] if made else self.text(place)

    def typed(self, schema, place, depth):
        kind = schema.get("type")
        kind = next((one for one in kind if one != "null"), "string") if isinstance(kind, list) else kind
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        if kind == "array" and schema.get("prefixItems"):
            return [self.of(one, place, depth + 1) for one in schema["prefixItems"]]
        if kind == "array":
            return [] if depth > 3 else [self.of(schema.get("items", {}), place, depth + 1) for _ in range(2)]
        if kind == "object":
            return self.object(schema, place, depth)
        plain = {"boolean": True, "null": None, "integer": self.draw.randrange(1, 10_000)}
        plain["number"] = plain["integer"] + 0.5
        return plain[kind] if kind in plain else self.text(place)

    def object(self, schema, place, depth):
        """Objects in a parameter have plain members; elsewhere down to two levels."""
        if depth > 2 or (self.mode == "required" and place == "body"):
            needed = schema.get("required") or []
        else:
            needed = [*schema.get("properties", {})]
        made = {}
        for name in needed if isinstance(needed, list) else []:
            member = schema.get("properties", {}).get(name, {} if self.variant else None)
            if member is None or self.reader.schema(member).get("readOnly") or (member or {}).get("readOnly"):
                continue
            made[name] = self.of(member, place, depth + 1) if depth < DEEPEST else None
        extra = schema.get("additionalProperties")
        if not made and isinstance(extra, dict) and depth <= 2 and self.mode != "required":
            made["k1"] = self.of(extra, place, depth + 1)
        return made
