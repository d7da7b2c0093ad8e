"""Introspection of a hostile server: what all fields name together is shared and bounded."""

import graphql
from tests.support.work import calls_made_by

from utcp_bridge.transports.graphql.schema import SelectionBounds, root_tools


def schema_of(roots: int, types: int, fields: int, values: int = 2) -> graphql.GraphQLSchema:
    """Types without leaves that lead to each other, and input objects likewise."""
    lines = [f"enum E {{ {' '.join(f'V{n}' for n in range(values))} }}", "union U = T0 | T1"]
    for n in range(types):
        lines.append(f"type T{n} {{ {' '.join(f'f{k}: T{(n * 7 + k * 13 + 1) % types}' for k in range(fields))} }}")
        lines.append(
            f"input I{n} {{ e: E {' '.join(f'f{k}: I{(n * 7 + k * 13 + 1) % types}' for k in range(fields))} }}"
        )
    lines.append(f"type Query {{ u: U {' '.join(f'q{n}(a: I{n % types}): T{n % types}' for n in range(roots))} }}")
    return graphql.build_schema("\n".join(lines))


def made_of(schema: graphql.GraphQLSchema, depth: int = 2) -> list[dict[str, object]]:
    return root_tools(schema, operation_type=None, field=None, bounds=SelectionBounds(depth=depth))[0]


def test_fields_share_the_schemas_of_input_objects() -> None:
    tools = made_of(schema_of(50, 60, 5))
    definitions = [tool["inputs"].get("$defs", {}) for tool in tools]  # type: ignore[attr-defined]
    assert len({id(one) for each in definitions for one in each.values()}) == 60
    assert max(map(len, definitions)) == 60


def test_selections_without_leaves_are_bounded() -> None:
    schema = schema_of(3, 40, 40)
    tools = made_of(schema, depth=8)
    assert all(len(str(tool["overlay"])) < 20_000 for tool in tools)
    assert calls_made_by(lambda: made_of(schema, depth=8)) < 2_000_000


def test_a_long_chain_of_input_objects_does_not_overflow() -> None:
    chain = "\n".join(f"input I{n} {{ next: I{n + 1} }}" for n in range(1_500))
    schema = graphql.build_schema(f"{chain}\ninput I1500 {{ n: Int }}\ntype Query {{ q(a: I0): Int }}")
    [tool] = made_of(schema)
    assert len(tool["inputs"]["$defs"]) == 1_501  # type: ignore[index]


def test_a_huge_enumeration_is_text() -> None:
    tools = made_of(schema_of(1, 2, 1, values=5_000))
    assert tools[1]["inputs"]["$defs"]["I0"]["properties"]["e"] == {"type": "string"}  # type: ignore[index]
