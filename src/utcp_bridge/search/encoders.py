"""Embedding models in folders of this machine. Nothing is ever downloaded.

A folder has an ONNX model with `tokenizer.json`, or a model of model2vec or of sentence-transformers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Final

import anyio.to_thread

from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.search.vectors import digest_of

__all__ = ["LocalScorer"]

_PACKAGES: Final = (("model2vec", "StaticModel"), ("sentence_transformers", "SentenceTransformer"))
_ONNX_PACKAGES: Final = ("onnxruntime", "tokenizers", "numpy")
_INSTALL: Final = (
    f"Install one that does: {MissingExtra.install_line('semantic')}, or pip install sentence-transformers."
)
_MODEL_FILES: Final = ("model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx")
_MAX_TOKENS: Final = 128
_BATCH: Final = 32
_MAX_FILES: Final = 1_000


class LocalScorer:
    """A model in a folder on this machine. The first `embed` loads it in a worker thread.

    :raises ConfigError: the folder does not exist, or no package that reads embedding models is installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder: Final = Path(folder)
        if not self._folder.is_dir():
            raise ConfigError(
                f"The folder of the embedding model, {folder}, does not exist.",
                remedy="Name a local folder with an ONNX model and its tokenizer.json, or a model2vec or "
                "sentence-transformers folder.",
            )
        packages = _ONNX_PACKAGES[:1] if _onnx_file(self._folder) else [package for package, _ in _PACKAGES]
        if not any(find_spec(package) for package in packages):
            raise ConfigError("No package that reads embedding models is installed.", remedy=_INSTALL)
        self.model: Final = f"{folder}, {_stamp(self._folder)}"
        self._loading: Final = Lock()
        self._encode: Callable[[list[str]], Any] | None = None

    async def embed(self, texts: list[str]) -> Sequence[Any]:
        """Return one vector for each text, in order.

        :raises ConfigError: the model cannot be loaded.
        """
        # A caller who runs out of time does not wait; the thread ends by itself.
        return await anyio.to_thread.run_sync(self._embed, texts, abandon_on_cancel=True)

    def _embed(self, texts: list[str]) -> Sequence[Any]:
        with self._loading:
            encode = self._encode = self._encode or _load_encoder(self._folder)
        return list(encode(texts))


def _stamp(folder: Path) -> str:
    """Return a hash of the names, sizes and times of the files in a folder: another model has another one."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())[:_MAX_FILES]
    return digest_of("files", repr([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])).hex()


def _onnx_file(folder: Path) -> Path | None:
    return next((path for name in _MODEL_FILES if (path := folder / name).is_file()), None)


def _load_encoder(folder: Path) -> Callable[[list[str]], Any]:
    model = _onnx_file(folder)
    if model is not None:
        return _OnnxModel(model, folder / "tokenizer.json").encode
    for package, loader in _PACKAGES:
        try:
            module: Any = importlib.import_module(package)
        except ImportError:
            continue
        made: Any = getattr(module, loader)
        name = str(folder)
        try:
            encoder = made.from_pretrained(name) if loader == "StaticModel" else made(name, local_files_only=True)
        except (OSError, ValueError, KeyError):
            continue
        encode: Callable[[list[str]], Any] = encoder.encode
        return encode
    raise ConfigError("The embedding model cannot be loaded: no installed package reads its folder.", remedy=_INSTALL)


class _OnnxModel:
    """A transformer in ONNX. Its output is the mean over the tokens, unless the model has made one vector itself."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        try:
            runtime, tokenizers, self._numpy = map(importlib.import_module, _ONNX_PACKAGES)
        except ImportError as error:
            raise ConfigError(f"An ONNX model needs the package {error.name}.", remedy=_INSTALL) from None
        if not tokenizer.is_file():
            raise ConfigError(f"{tokenizer} is missing.", remedy="Copy the tokenizer.json of the model next to it.")
        options: Any = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # noqa: BLE001 - the libraries raise their own classes, some of them plain exceptions
            raise ConfigError(
                f"The embedding model {model} or its tokenizer.json cannot be read ({type(error).__name__}).",
                remedy="Copy the files of the model again.",
            ) from None
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.no_padding()
        self._names = {given.name for given in self._session.get_inputs()}

    def encode(self, texts: list[str]) -> list[Any]:
        """Return one vector for each text, in order."""
        tokens = [one.ids for one in self._tokenizer.encode_batch(texts)]
        order = sorted(range(len(tokens)), key=lambda number: len(tokens[number]))
        vectors: list[Any] = [None] * len(tokens)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            for number, vector in zip(batch, self._run([tokens[number] for number in batch]), strict=True):
                vectors[number] = vector
        return vectors

    def _run(self, tokens: list[list[int]]) -> Any:
        np = self._numpy
        ids = np.zeros((len(tokens), max(map(len, tokens)) or 1), "int64")
        mask = np.zeros_like(ids)
        for row, found in enumerate(tokens):
            ids[row, : len(found)] = found
            mask[row, : len(found)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, {key: value for key, value in given.items() if key in self._names})[0]
        if hidden.ndim == 2:
            return hidden
        weights = mask[:, :, None].astype("float32")
        return (hidden * weights).sum(1) / np.maximum(weights.sum(1), 1)
