"""The converter against the oracle: samples, the matrix of styles and media types, broken documents."""

import pytest
from hypothesis import HealthCheck, given, settings
from tests.openapi_oracle.checking import faults_of
from tests.openapi_oracle.fuzzing import Documents, broken, check
from tests.openapi_oracle.loopback import recorder
from tests.openapi_oracle.matrix import documents
from tests.openapi_oracle.reading import Reader
from tests.openapi_oracle.running import run
from tests.openapi_oracle.samples import OWN, SHARED, load, sample_files
from tests.openapi_oracle.securing import is_right

from utcp_bridge.dialects.openapi import ConversionOptions, convert

URL = "https://docs.example.com/openapi.json"
FILES = [*sample_files(OWN), *(path for path in sample_files(SHARED) if path.stat().st_size < 400_000)]
BREAKABLE = Documents(load(path)[0] for path in sample_files(OWN) if path.stat().st_size < 15_000)


@pytest.fixture(scope="module")
def loopback():
    with recorder() as running:
        yield running


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_sample_document_becomes_sound_tools_that_send_what_it_prescribes(path, loopback):
    document, url, files = load(path)
    conversion = convert(document, url=url, options=ConversionOptions(), files=files)
    tools = [tool.as_json() for tool in conversion.tools]
    declared = list(Reader(document, url, files).operations())
    assert len(tools) == len(declared)
    assert faults_of(tools) == []
    assert [tool["name"] for one, tool in zip(declared, tools, strict=True) if not is_right(one, tool)] == []
    score = run(document, url, loopback, files=files, most=6)
    assert score.share >= 0.8, score.wrong


@pytest.mark.parametrize("path", sorted(OWN.glob("own-*")), ids=lambda path: path.name)
def test_rare_parts_of_a_document_are_sent_as_prescribed(path, loopback):
    document, url, files = load(path)
    assert convert(document, url=url, options=ConversionOptions(), files=files).faults == []
    assert run(document, url, loopback, files=files, most=100).wrong == []


@pytest.mark.parametrize(
    ("name", "document"), [*documents()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_defined_style_and_media_type_is_sent_as_prescribed(name, document, loopback):
    score = run(document, URL, loopback, most=100_000)
    assert score.operations > 150
    assert score.wrong == []


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(broken(BREAKABLE))
def test_a_broken_document_gives_typed_faults_and_sound_tools(document):
    check(document)
