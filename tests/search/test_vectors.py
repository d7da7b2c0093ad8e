"""The matrix of vectors, and its file."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import ConfigError
from utcp_bridge.search import vectors
from utcp_bridge.search.vectors import VectorTable, cache_file, digest_of, read_cache, write_cache

NUMBERS = st.lists(st.integers(-80, 80).map(lambda number: number / 8), min_size=3, max_size=3)


def table_of(rows):
    table = VectorTable()
    for number, row in enumerate(rows):
        table.add([digest_of("m", str(number))], [row])
    return table


@given(st.lists(NUMBERS, min_size=1, max_size=12), NUMBERS)
def test_products_are_the_cosines(rows, query):
    table = table_of(rows)
    found = table.cosines(table.unit(query))
    for row, cosine in zip(rows, found, strict=True):
        lengths = math.hypot(*row) * math.hypot(*query)
        expected = sum(a * b for a, b in zip(row, query, strict=True)) / lengths if lengths else 0.0
        assert math.isclose(cosine, expected, abs_tol=1e-4)


@given(st.lists(NUMBERS, min_size=1, max_size=12), st.sets(st.integers(0, 11)))
def test_rows_that_are_kept_stay_the_same_and_new_ones_come_after_them(rows, kept):
    table = table_of(rows)
    before = dict(zip(table.digests, table.matrix().tolist(), strict=True))
    wanted = {digest for number, digest in enumerate(table.digests) if number in kept}
    table.keep(wanted)
    table.add([b"new"], [[0.0, 3.0, 0.0]])
    after = dict(zip(table.digests, table.matrix().tolist(), strict=True))
    assert after == {digest: row for digest, row in before.items() if digest in wanted} | {b"new": [0.0, 1.0, 0.0]}


def test_a_vector_that_is_added_twice_has_one_row():
    table = table_of([[1.0, 0.0]])
    table.add([digest_of("m", "0"), digest_of("m", "1")], [[0.0, 1.0], [0.0, 1.0]])
    assert table.cosines(table.unit([1.0, 0.0])).tolist() == [1.0, 0.0]
    assert len(table) == 2


def test_vectors_of_another_length_are_like_nothing():
    table = table_of([[1.0, 0.0], [1.0, 0.0, 0.0]])
    assert table.cosines(table.unit([1.0, 0.0])).tolist() == [1.0, 0.0]
    assert table.cosines(table.unit([1.0])) is None
    assert VectorTable().cosines([1.0]) is None


def axes(number):
    """A vector on an axis of its own."""
    return [0.0 if axis != number else 1.0 for axis in range(200)]


def test_a_row_that_is_near_to_many_is_close_and_few_rows_are_not_measured():
    table = table_of([axes(number) for number in range(1, 99)])
    table.measure()
    assert table.spread == 0.0
    assert not table.closeness().any()
    table.add([b"general"], [[1.0] * 200])
    table.add([b"%d" % number for number in range(100, 170)], [axes(number) for number in range(100, 170)])
    table.measure()
    closeness = table.closeness()
    assert table.spread > 0.0
    assert closeness.argmax() == table.row_of(b"general")
    assert math.isclose(
        closeness[0], 1 / math.sqrt(200) / 2, abs_tol=1e-4
    )  # one of its two neighbours is the general row
    table.add([b"later"], [axes(190)])
    assert math.isclose(table.closeness()[-1], closeness.mean(), rel_tol=1e-5)
    table.keep({b"general", b"later"})
    assert len(table.closeness()) == len(table) == 2


def test_a_mixture_replaces_the_cosines_of_its_rows_only():
    table = table_of([[1.0, 0.0], [0.0, 1.0]])
    query = table.unit([0.0, 1.0])
    cosines = table.cosines(query)
    table.mixture([digest_of("m", "0")], table.unit([0.0, 2.0]).reshape(1, 2), [1.0]).put(cosines, query)
    assert cosines.tolist() == pytest.approx([math.sqrt(0.5), 1.0])
    assert table.mixture([digest_of("m", "0")], table.unit([1.0]).reshape(1, 1), [1.0]) is None
    assert table.mixture([], table.unit([1.0, 0.0]).reshape(1, 2), []) is None


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_a_file_gives_back_what_is_wanted(tmp_path_factory, rows):
    path = cache_file(tmp_path_factory.mktemp("kept"), "m")
    table = table_of(rows)
    write_cache(path, table.digests, table.matrix())
    wanted = list(table.digests)[::2]
    found = read_cache(path, frozenset(wanted))
    assert sorted(found) == sorted(wanted)
    known = dict(zip(table.digests, table.matrix().tolist(), strict=True))
    assert {digest: row.tolist() for digest, row in found.items()} == {digest: known[digest] for digest in wanted}


@given(st.binary(max_size=400))
def test_any_other_file_gives_nothing(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("kept") / "x.vectors"
    assert read_cache(path, {b"a"}) == {}
    path.write_bytes(data)
    assert read_cache(path, {b"a"}) == {}


def test_without_numpy_the_error_says_how_to_install_it(monkeypatch):
    def missing(_name):
        raise ImportError

    monkeypatch.setattr(vectors, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install .*\[semantic\]'"):
        VectorTable()
