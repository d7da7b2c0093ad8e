"""Metadata in the extended dialect."""

import pytest

from utcp_bridge.dialects.extended import read_info


@pytest.mark.parametrize(
    ("raw", "info"),
    [
        (
            {"info": {"title": "T", "description": "D", "version": "2"}},
            {"title": "T", "description": "D", "version": "2"},
        ),
        ({"provider_info": {"name": "N", "version": "1.0.0"}}, {"title": "N", "version": "1.0.0"}),
        ({"metadata": {"title": "M"}, "manual_version": "3"}, {"title": "M", "version": "3"}),
        ({"version": "1.0", "manual_version": "2.0"}, {"version": "2.0"}),
        ({"info": "text", "metadata": {"title": 5}}, {}),
        ({}, {}),
    ],
)
def test_title_description_and_version_are_found_in_each_of_their_places(raw, info):
    assert read_info(raw) == info
