"""The projection in a Lightning ``Trainer``."""

from lightning.pytorch import Callback

from udulib.nn.projection import attach


class ProjectionCallback(Callback):
    """Makes every step of the optimizers of a ``LightningModule`` end with the projection of its UDV layers.

    Works with automatic and manual optimisation, several optimizers, accumulated gradients, mixed precision and resumed
    runs: it attaches to the optimizers themselves, anew in each ``fit``.

    Raises
    ------
    InputError
        As `udulib.nn.attach`, when training starts.

    Examples
    --------
    >>> from lightning.pytorch import Trainer
    >>> trainer = Trainer(callbacks=[ProjectionCallback()], logger=False, accelerator="cpu")
    """

    def on_train_start(self, trainer, pl_module):
        self._projections = attach(trainer.optimizers, pl_module)

    def on_train_end(self, trainer, pl_module):
        for projection in self._projections:
            projection.remove()
