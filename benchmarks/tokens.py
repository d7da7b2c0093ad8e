"""What a host spends on results: `python benchmarks/tokens.py`.

Draws 20 replies from the response schemas of the documents in `tests/data/openapi`, with between 1 and 20,000 rows, and
prints the tokens of each as the bridge renders it: without a budget (1,000,000 bytes of text and the same structure
again), by default, and for Claude Code. A token counts as 4 bytes: an exact count needs each model's tokenizer. Exit
status 1 if a result is above its budget.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.openapi_oracle.samples import load

from utcp_bridge.catalogue.budget import allowance_for
from utcp_bridge.catalogue.fitting import Budget, Rest, json_size
from utcp_bridge.catalogue.render import Rendering, render_result
from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.catalogue.schemas.portable import portable_output
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.errors import UtcpError
from utcp_bridge.model import Result, is_list, is_object
from utcp_bridge.settings import LimitSettings

DATA = Path(__file__).parents[1] / "tests" / "data" / "openapi"
ROWS = (1, 1, 2, 5, 10, 10, 20, 25, 50, 50, 100, 100, 200, 500, 1_000, 2_000, 4_000, 6_000, 10_000, 20_000)
WORDS = ("order", "customer", "open", "pending", "new", "north", "delivery", "of", "the", "with", "monthly", "report")
FORMS = {
    "date-time": "2026-05-17T09:31:07Z",
    "date": "2026-05-17",
    "email": "someone@example.com",
    "uri": "https://api.example.com/v1/items/81",
    "uuid": "0b9f2c1e-7b7e-4a0e-9d55-5a3f7e1d2c40",
}
BYTES_PER_TOKEN = 4
WITHOUT_BUDGET = 1_000_000


def response_schemas():
    """Yield (name, output schema) of the operations that describe one."""
    for path in sorted(DATA.glob("*.*")):
        if path.suffix not in {".json", ".yaml"}:
            continue
        try:
            converted = convert(load(path)[0], url=f"https://docs.example.com/{path.name}", options=ConversionOptions())
        except UtcpError:
            continue
        for tool in converted.tools:
            if tool.outputs:
                yield f"{path.stem}: {tool.name}", tool.outputs


def drawn(schema, root, rng, rows, depth=0):
    """Return a value that looks like what the schema describes. The first array has `rows` rows."""
    if "$ref" in schema:
        schema = root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
    for key in ("allOf", "anyOf", "oneOf"):
        if is_list(schema.get(key)) and schema[key]:
            parts = [drawn(part, root, rng, rows, depth) for part in schema[key][: 2 if key == "allOf" else 1]]
            merged = {name: one for part in parts if is_object(part) for name, one in part.items()}
            return merged or parts[0]
    if schema.get("enum"):
        return rng.choice(schema["enum"])
    kind = schema.get("type", "object")
    kind = kind[0] if is_list(kind) else kind
    if kind == "array":
        count = rows if depth < 2 else rng.randint(0, 3)
        return [drawn(schema.get("items", {}), root, rng, 2, depth + 2) for _ in range(count if depth < 8 else 0)]
    if kind == "object":
        members = schema.get("properties") or {"id": {"type": "integer"}, "name": {"type": "string"}}
        return {name: drawn(one, root, rng, rows, depth + 1) for name, one in members.items() if depth < 8}
    scalars = {
        "integer": rng.randint(1, 100_000),
        "number": round(rng.uniform(1, 1_000), 2),
        "boolean": rng.random() < 0.5,
    }
    return scalars.get(kind) or FORMS.get(schema.get("format")) or " ".join(rng.choices(WORDS, k=rng.randint(1, 8)))


def replies():
    """Return 20 triples: name, output schema, reply. Objects become rows of a page, as APIs return them."""
    found = list(response_schemas())
    made = []
    for number, rows in enumerate(ROWS):
        name, schema = found[number * len(found) // len(ROWS)]
        rng = random.Random(number)
        value = drawn(schema, schema, rng, rows)
        if rows > 1 and not is_list(value):
            schema = {"type": "object", "properties": {"items": {"type": "array", "items": schema}}}
            value = {"items": [drawn(schema["properties"]["items"]["items"], {}, rng, 1) for _ in range(rows)]}
        made.append((f"{name}, {rows:,} rows", schema, value))
    return made


def unlimited(value, rendering):
    """Return the bytes of the text and of the structure, each cut at 1,000,000, as they were without a budget."""
    whole = render_result(Result(value), rendering)
    text, structure = json_size(whole["content"]), json_size(whole.get("structuredContent"))
    return min(text, WITHOUT_BUDGET) + min(structure, WITHOUT_BUDGET)


def main():
    """Print the table."""
    budgets = {name: allowance_for(LimitSettings(), name) for name in (None, "claude-code")}
    totals = [0, 0, 0]
    too_large = False
    print("| reply | no budget | default | Claude Code |\n| --- | --- | --- | --- |")
    for name, schema, value in replies():
        listed = portable_output(schema, 16_384)
        conform = Conformer(listed.schema)
        sizes = [unlimited(value, Rendering(Budget(sys.maxsize), True, conform, listed.wrapped))]
        for allowance in budgets.values():
            rest = Rest(lambda _value: "0" * 32, 600, "read_result", links=True)
            budget = Budget(allowance.max_bytes, allowance.prefers_structure, rest=rest)
            rendered = render_result(Result(value), Rendering(budget, True, conform, listed.wrapped))
            too_large |= json_size(rendered) > allowance.max_bytes
            sizes.append(json_size(rendered["content"]) + json_size(rendered["structuredContent"]))
        totals = [total + size for total, size in zip(totals, sizes, strict=True)]
        print(f"| {name} | " + " | ".join(f"{size // BYTES_PER_TOKEN:,}" for size in sizes) + " |")
    print("| **all 20** | " + " | ".join(f"**{total // BYTES_PER_TOKEN:,}**" for total in totals) + " |")
    return int(too_large)


if __name__ == "__main__":
    sys.exit(main())
