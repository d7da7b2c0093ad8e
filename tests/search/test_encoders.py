"""Models in folders: a small real ONNX model, which this file writes, and its tokenizer."""

import struct

import anyio
import pytest

from utcp_bridge.errors import ConfigError
from utcp_bridge.search.encoders import LocalScorer

pytestmark = pytest.mark.anyio
WORDS = ["[UNK]", "boat", "yacht", "bread"]
TABLE = [[0.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 2.0]]


def field(number, value):
    """One field of a protobuf message: a number, or bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    length = len(value)
    return bytes([number << 3 | 2, *([length] if length < 128 else [length & 127 | 128, length >> 7])]) + value


def named(name, kind, dimensions):
    shape = b"".join(field(1, field(2, one.encode())) for one in dimensions)
    return field(1, name.encode()) + field(2, field(1, field(1, kind) + field(2, shape)))


def onnx_model():
    """An ONNX model that looks tokens up in `TABLE`: one vector for each token."""
    numbers = b"".join(struct.pack("<f", one) for row in TABLE for one in row)
    table = field(1, len(TABLE)) + field(1, 2) + field(2, 1) + field(8, b"table") + field(9, numbers)
    node = field(1, b"table") + field(1, b"input_ids") + field(2, b"hidden") + field(4, b"Gather")
    ends = field(11, named("input_ids", 7, "ab")) + field(12, named("hidden", 1, "abc"))
    graph = field(1, node) + field(2, b"g") + field(5, table) + ends
    return field(1, 8) + field(8, field(2, 13)) + field(7, graph)


@pytest.fixture
def folder(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "model.onnx").write_bytes(onnx_model())
    return tmp_path


async def test_a_text_is_the_mean_of_its_tokens_whatever_the_others_in_its_batch(folder):
    scorer = LocalScorer(folder)
    with anyio.fail_after(60):
        alone = await scorer.embed(["boat bread"])
        together = await scorer.embed(["bread", "boat bread", "yacht boat boat yacht", ""])
    assert alone[0].tolist() == [0.5, 1.0]
    assert [row.tolist() for row in together] == [[0.0, 2.0], [0.5, 1.0], [0.75, 0.25], [0.0, 0.0]]


async def test_a_changed_model_has_another_name(folder):
    before = LocalScorer(folder).model
    assert LocalScorer(folder).model == before
    (folder / "model.onnx").write_bytes(onnx_model() + b"\x12\x00")
    assert LocalScorer(folder).model != before


@pytest.mark.parametrize("damaged", ["model.onnx", "tokenizer.json"])
async def test_a_damaged_file_is_an_error_that_says_what_to_do(folder, damaged):
    (folder / damaged).write_bytes(b"\x00not a model")
    with anyio.fail_after(60), pytest.raises(ConfigError, match=r"cannot be read .* Copy the files of the model again"):
        await LocalScorer(folder).embed(["boat"])


async def test_a_model_without_its_tokenizer_is_an_error(folder):
    (folder / "tokenizer.json").unlink()
    with anyio.fail_after(60), pytest.raises(ConfigError, match=r"tokenizer\.json is missing"):
        await LocalScorer(folder).embed(["boat"])
