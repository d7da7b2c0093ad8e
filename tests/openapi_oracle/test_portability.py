"""What is listed of every sample document: each host accepts it, and porting it again does not change it."""

import pytest
from tests.openapi_oracle.samples import OWN, SHARED, load, sample_files
from tests.support.host_rules import COMPOSED_RULES, INPUT_RULES, OUTPUT_RULES, broken

from utcp_bridge.catalogue.schemas.portable import portable_input, portable_output
from utcp_bridge.dialects.openapi import ConversionOptions, convert

MOST_BYTES = 16_384
SAMPLES = [*sample_files(OWN), *sample_files(SHARED)]


def wrong_of(tool, most_bytes):
    inputs = portable_input(tool.inputs, most_bytes)
    outputs = portable_output(tool.outputs or {}, most_bytes)
    yield from broken(inputs.schema, INPUT_RULES)
    yield from broken(inputs.composed, COMPOSED_RULES)
    yield from broken(outputs.schema, OUTPUT_RULES)
    if portable_input(inputs.schema, most_bytes).schema != inputs.schema:
        yield "the input schema changes", []
    if portable_input(inputs.composed, most_bytes).composed != inputs.composed:
        yield "the composed input schema changes", []
    if portable_output(outputs.schema, most_bytes).schema != outputs.schema:
        yield "the output schema changes", []


def test_the_samples_beside_the_repository_are_there():
    if not SHARED.is_dir():
        pytest.skip("The sample documents beside the repository (shared/openapi-samples) are not there.")
    assert sample_files(SHARED)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_host_accepts_what_is_listed_of_a_sample(path):
    document, url, files = load(path)
    tools = convert(document, url=url, options=ConversionOptions(), files=files).tools
    wrong = {tool.name: found for tool in tools if (found := list(wrong_of(tool, MOST_BYTES)))}
    assert wrong == {}


@pytest.mark.parametrize("most_bytes", [300, 1_000, 3_000])
@pytest.mark.parametrize("path", sample_files(OWN), ids=lambda path: path.name)
def test_every_host_accepts_what_a_cut_leaves(path, most_bytes):
    document, url, files = load(path)
    tools = convert(document, url=url, options=ConversionOptions(), files=files).tools
    wrong = {tool.name: found for tool in tools if (found := list(wrong_of(tool, most_bytes)))}
    assert wrong == {}
