"""The projection in the ``Trainer`` of transformers."""

from functools import partial
from pathlib import Path

from safetensors.torch import save_model
from transformers import TrainerCallback

from udulib.nn.projection import attach


class ProjectionCallback(TrainerCallback):
    """Makes every step of a ``Trainer``'s optimizer end with the projection of the model's UDV layers.

    While it trains, the ``Trainer`` writes checkpoints of a transformers model with UDV layers or adapters and resumes
    from them. They have no ``config.json``, and so are refused by ``AutoModel.from_pretrained`` and its like, which
    would read random weights.

    Raises
    ------
    InputError
        As `udulib.nn.attach`, when training starts.

    Examples
    --------
    >>> from transformers import Trainer
    >>> import torch
    >>> from udulib.nn import UDVLinear
    >>> trainer = Trainer(UDVLinear(4, 2, hidden=3), callbacks=[ProjectionCallback()])
    """

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self._projection = attach(optimizer, model)
        self._refusing = vars(model).get("save_pretrained")  # what `udulib.nn.convert` and `udulib.lora.add` put there
        if self._refusing is not None:
            model.save_pretrained = partial(_save_to_resume, model)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self._projection.remove()
        if self._refusing is not None:
            model.save_pretrained = self._refusing


def _save_to_resume(model, folder, **settings):
    """The numbers alone: without ``config.json`` no Auto class takes the folder for a model."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_model(model, str(Path(folder) / "model.safetensors"))
