import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search.fields import FIELDS, fields_of, parameters_of, weigh

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "description", "enum", "items", "x"]) | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def test_every_field_of_a_tool_is_indexed(make_tool):
    tool = make_tool(
        "billing.pay",
        "Settles.",
        title="Remit",
        tags=("finance",),
        inputs={"properties": {"iban": {"description": "Account", "enum": ["gold", 3]}}},
        extras={"asked_as": ["clear an invoice", "open invoices, invoice by invoice"]},
    )
    name, provider, tags, description, parameters, texts, asked = fields_of(tool)
    assert asked == ["clear", "invoic", "open", "invoic"]
    assert (name, provider, tags) == (["pay", "remit"], ["bill"], ["financ"])
    assert (description, parameters, texts) == (["settl"], ["iban"], ["account", "gold"])


def test_a_term_weighs_more_in_the_name_than_in_the_description_than_in_a_parameter(make_tool):
    name = weigh(make_tool("x.invoice", ""))["invoic"]
    description = weigh(make_tool("x.y", "Sends the invoice of a month to its customer."))["invoic"]
    parameter = weigh(make_tool("x.y", inputs={"properties": {"invoice": {}}}))["invoic"]
    assert 1 > name > description > parameter > 0


def test_a_long_description_dilutes_its_terms_but_not_its_opening(make_tool):
    padding = " ".join(f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
    short = weigh(make_tool("x.y", "one invoice"))["invoic"]
    opening = weigh(make_tool("x.y", f"invoice {padding}"))["invoic"]
    late = weigh(make_tool("x.y", f"{padding} invoice"))["invoic"]
    assert short > opening > late


def test_weights_of_a_tool_do_not_depend_on_other_tools(make_tool):
    assert weigh(make_tool("x.invoice", "Pays.")) == weigh(make_tool("x.invoice", "Pays."))


@pytest.mark.parametrize("schema", [None, True, [], "text", {"properties": []}, {"properties": None}, {}])
def test_a_schema_without_properties_has_no_parameters(schema):
    assert parameters_of(schema) == {}


@given(schema=_JSON, description=_JSON)
def test_no_schema_however_broken_stops_the_indexing(make_tool, schema, description):
    found = weigh(make_tool("x.invoice", description, inputs=schema))
    assert all(0 < weight < 1 for weight in found.values())
    assert "invoic" in found


def test_enormous_texts_are_cut(make_tool):
    assert len(fields_of(make_tool("x.y", "invoice " * 10_000))[3]) <= 500
    assert len(FIELDS) == len(fields_of(make_tool("x.y")))
