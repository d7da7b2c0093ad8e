"""Ids say the place of their process."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.server.replicas.place import ProcessPlace, here, new_ident

PLACES = st.integers(1, 64).flatmap(lambda count: st.builds(ProcessPlace, st.integers(0, count - 1), st.just(count)))


@given(PLACES)
def test_an_id_leads_to_the_place_that_made_it(place: ProcessPlace) -> None:
    ident = new_ident(place)
    assert len(ident) == 32
    assert place.of(ident) == place.of(ident.encode()) == place.index


@given(PLACES, st.text(max_size=40))
def test_any_text_leads_to_a_place_that_exists_or_to_none(place: ProcessPlace, text: str) -> None:
    for ident in (text, text.encode()):
        found = place.of(ident)
        assert found is None or 0 <= found < place.count


def test_a_process_alone_has_every_id() -> None:
    assert here() == ProcessPlace(0, 1)
    assert here().of(new_ident()) == 0
    assert new_ident() != new_ident()
