"""What the frozen layers of MiniLM-L6 make of texts: computed once, and kept in the data folder."""

import hashlib
from typing import NamedTuple

import numpy as np
import torch

from companion import data
from udulib.files import replacing

TOKENS = 48  # of a sentence; 95 % of the reviews are shorter. Of a mail only the beginning is read
FROZEN = 5  # layers below the one that is trained
CHUNK = 250  # sentences in a file of states


class States(NamedTuple):
    """Hidden states of texts, padded with zeros, and which of them are tokens."""

    values: torch.Tensor  # (n, TOKENS, d) float16
    mask: torch.Tensor  # (n, TOKENS) bool


def states(texts, folder=None, progress=None):
    """What the frozen layers of MiniLM-L6 make of texts; computed once and kept in the data folder.

    A file holds the states of 250 texts. Its name is a hash of the texts, the weights and the settings, so a change of
    any of them is a new file, and a run that was killed goes on where it was.

    Parameters
    ----------
    texts : sequence of str
    folder : path, optional
        See `companion.data.data_folder`.
    progress : callable, optional
        Called as ``progress(texts_done, texts_in_all)``.

    Returns
    -------
    States

    Examples
    --------
    >>> states(["A fine film."]).values.shape  # doctest: +SKIP
    torch.Size([1, 48, 384])
    """
    stamp = f"{data.about('minilm').members} {FROZEN} {TOKENS}"
    place = data.data_folder(folder) / "states"
    place.mkdir(parents=True, exist_ok=True)
    parts, encode = [], None
    for first in range(0, len(texts), CHUNK):
        chunk = list(texts[first : first + CHUNK])
        key = hashlib.sha256("\0".join([stamp, *chunk]).encode()).hexdigest()[:32]
        file = place / f"{key}.npz"
        if not file.is_file():
            encode = encode or _encoder(folder)
            _write(file, *encode(chunk))
        with np.load(file) as kept:
            parts.append(_padded(kept["tokens"], kept["lengths"]))
        if progress:
            progress(first + len(chunk), len(texts))
    return States(*(torch.cat(part) for part in zip(*parts, strict=True)))


def minilm(folder=None):
    """MiniLM-L6 and its tokeniser, from the data folder: no network, no progress bars, nothing trained."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    place = data.minilm(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
    return transformers.AutoModel.from_pretrained(place, local_files_only=True).eval(), tokenizer


def rows(states, index):
    """The states of some texts, in float32 for many uses."""
    return States(states.values[index].float(), states.mask[index])


def _encoder(folder):
    model, tokenizer = minilm(folder)
    model.encoder.layer = model.encoder.layer[:FROZEN]

    @torch.inference_mode()
    def encode(texts):
        """All tokens' states one after the other, (tokens, d) float16, and how many each text has."""
        ids = tokenizer(texts, truncation=True, max_length=TOKENS)["input_ids"]
        lengths = np.array([len(row) for row in ids])
        found = [None] * len(ids)
        for some in np.array_split(np.argsort(lengths, kind="stable"), max(1, len(ids) // 32)):  # little padding
            rows = tokenizer.pad({"input_ids": [ids[i] for i in some]}, return_tensors="pt")
            values = model(rows["input_ids"], attention_mask=rows["attention_mask"]).last_hidden_state
            for i, value in zip(some, values, strict=True):
                found[i] = value[: lengths[i]].half().numpy()
        return np.concatenate(found), lengths

    return encode


def _write(file, tokens, lengths):
    with replacing(file) as draft, open(draft, "wb") as handle:
        np.savez(handle, tokens=tokens, lengths=lengths)


def _padded(tokens, lengths):
    mask = torch.arange(TOKENS) < torch.from_numpy(lengths)[:, None]  # (n, TOKENS)
    values = torch.zeros(*mask.shape, tokens.shape[1], dtype=torch.float16)
    values[mask] = torch.from_numpy(tokens)
    return values, mask
