"""The paper's own scale: LLaMA-2-7B on wikitext-2, for those who have the model, the text and a GPU."""

from dataclasses import replace
from pathlib import Path

import torch

from companion.adapters.finetuning import FinetuneSettings, after_cuts, finetune, sequences


def published_scale(model_folder, text_folder, recipe=None, *, device="cuda", seed=42, progress=None):
    """The paper's experiment as it stands: needs LLaMA-2-7B, wikitext-2 (raw) and a GPU. Not run by us.

    Parameters
    ----------
    model_folder : path
        A decoder and its tokeniser, as transformers saves them. They are loaded in float16.
    text_folder : path
        With ``wiki.train.raw`` and ``wiki.test.raw``, one paragraph a line.
    recipe : FinetuneSettings, optional
        Of the UDV adapters; the paper's if left out. The baseline has the same without balls and with D held at one.
    device : str, default "cuda"
    seed : int, default 42
    progress : callable, optional
        As for `finetune`.

    Returns
    -------
    dict
        ``"UDV"`` and ``"LoRA"``: each the losses of the epochs, and ranks and perplexities after each cut.

    Examples
    --------
    >>> published_scale("Llama-2-7b-hf", "wikitext-2-raw")  # doctest: +SKIP
    """
    import transformers

    recipe = FinetuneSettings() if recipe is None else recipe
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    train, test = (
        sequences(Path(text_folder, f"wiki.{part}.raw").read_text(encoding="utf-8").splitlines(), tokenizer)
        for part in ("train", "test")
    )
    found = {}
    for name, radius in (("UDV", recipe.radius), ("LoRA", None)):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            model_folder, dtype=torch.float16, local_files_only=True
        ).to(device)
        losses = finetune(model, train, replace(recipe, radius=radius), seed, progress)
        found[name] = (losses, *after_cuts(model.eval(), test))
    return found
