"""From texts to token ids, as the model's own reference implementation makes them."""

import html
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from seesame.errors import ModelInvalid
from seesame.models.folder import Cleaning, TextFiles

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextTokenizer:
    """A `tokenizer.json` with the length, the padding and the cleaning that its model was trained with."""

    def __init__(self, files: TextFiles, *, fixed_length: int | None) -> None:
        """`fixed_length` is the number of tokens the graph demands, if it does. Raises ModelInvalid."""
        try:
            self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        except Exception as error:
            raise ModelInvalid("tokenizer.json is not a tokenizer.") from error
        self._cleaning = files.cleaning
        self._length = fixed_length or files.context_length
        self._pad_always = files.pad_always or fixed_length is not None
        self._pad_id = self._find_pad(files.pad_token)
        self._tokenizer.no_padding()
        # Cuts the text, not the end token, which the model reads its result at.
        self._tokenizer.enable_truncation(max_length=self._length)

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and attention mask (1 for a token, 0 for padding), both of shape (n, length)."""
        # One by one: the library's own threads would survive a fork only with a warning, and texts come in few.
        rows: list[Encoding] = [self._tokenizer.encode(clean(text, self._cleaning)) for text in texts]
        length = self._length if self._pad_always else max((len(row.ids) for row in rows), default=0)
        ids = np.full((len(rows), length), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = row.ids
            mask[index, : len(row.ids)] = 1
        return ids, mask

    def _find_pad(self, token: str | None) -> int:
        if token is None:
            padding: dict[str, Any] | None = self._tokenizer.padding
            return int(padding["pad_id"]) if padding else 0
        identifier = self._tokenizer.token_to_id(token)
        if identifier is None:
            raise ModelInvalid("tokenizer_config.json names a padding token that tokenizer.json does not have.")
        return int(identifier)


def clean(text: str, cleaning: Cleaning) -> str:
    """`text` as the reference hands it to its tokenizer.

    open_clip resolves HTML entities, twice, and joins white space; for SigLIP it also drops case and punctuation. What
    it does beyond that (the repair of wrongly decoded text) is left out: it needs a library of its own.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be tokenised
    if cleaning == "none":
        return text
    text = html.unescape(html.unescape(text))
    if cleaning == "canonicalize":
        text = text.replace("_", " ").translate(_NO_PUNCTUATION).lower()
    return " ".join(text.split())
