"""Lightning and the Trainer of transformers, the libraries themselves: in the set after each step, resumed the same."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from udulib import InputError, lora
from udulib.nn import UDVLinear, convert, feasible

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own

X = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
Y = X @ torch.randn(12, 3, generator=torch.Generator().manual_seed(1))


def network():
    torch.manual_seed(0)
    return nn.Sequential(UDVLinear(12, 8, hidden=10), nn.ReLU(), UDVLinear(8, 3, hidden=6, bias=True))


def same(first, second):
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


# --- Lightning --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lightning():
    return pytest.importorskip("lightning.pytorch", reason="needs lightning")


def module(lightning, manual=False, optimizers=1):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()
            self.automatic_optimization = not manual
            self.seen = 0

        def training_step(self, batch, index):
            x, y = batch
            loss = nn.functional.mse_loss(self.network(x), y)
            if manual:
                every = self.optimizers()
                every = every if isinstance(every, list) else [every]
                for optimizer in every:
                    optimizer.zero_grad()
                self.manual_backward(loss)
                for optimizer in every:
                    optimizer.step()
            return loss

        def on_train_batch_end(self, *_):
            self.seen += 1
            assert feasible(self) == (self.trainer.global_step > 0)

        def configure_optimizers(self):
            if optimizers == 1:
                return torch.optim.Adam(self.parameters(), lr=0.02)
            matrices = [p for p in self.parameters() if p.ndim == 2]
            return [
                torch.optim.SGD(matrices, lr=0.05, momentum=0.9),
                torch.optim.Adam([p for p in self.parameters() if p.ndim < 2], lr=0.02),
            ]

    return Module()


def fit(lightning, model, folder, steps=100, checkpoint=None, more=(), batch=16, **settings):
    from udulib.nn.lightning import ProjectionCallback

    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[ProjectionCallback(), *more],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(more),
        **settings,
    )
    trainer.fit(model, DataLoader(TensorDataset(X, Y), batch_size=batch), ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ({}, {}),
        ({}, {"accumulate_grad_batches": 3}),
        ({}, {"precision": "bf16-mixed"}),
        ({"manual": True}, {}),
        ({"manual": True, "optimizers": 2}, {}),
    ],
)
def test_lightning_is_feasible_after_each_step(lightning, tmp_path, kind, settings):
    model = module(lightning, **kind)
    trainer = fit(lightning, model, tmp_path, **settings, steps=100 * kind.get("optimizers", 1))
    assert trainer.global_step == 100 * kind.get("optimizers", 1)  # Lightning counts those of all optimizers
    assert model.seen >= 100
    before = copy.deepcopy(network())
    assert not torch.equal(before[0].U, model.network[0].U)


def test_lightning_with_steps_that_the_scaler_skips(lightning, tmp_path):
    from lightning.pytorch.plugins.precision import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)  # overflows at first, and is halved each time
    model = module(lightning)
    model.on_train_batch_end = lambda *_: seen.append(feasible(model))
    seen = []
    fit(lightning, model, tmp_path, plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])
    skipped = seen.index(True)
    assert 5 < skipped < 90
    assert not any(seen[:skipped]) and all(seen[skipped:])  # the start is outside, and skipped steps leave it there


@pytest.mark.parametrize("kind", [{}, {"manual": True, "optimizers": 2}])
def test_lightning_resumes(lightning, tmp_path, kind):
    """With all data in each batch: Lightning itself does not take up the order of batches where it was."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    times = kind.get("optimizers", 1)
    through, resumed = (module(lightning, **kind) for _ in range(2))
    saving = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, every_n_epochs=10, save_on_train_epoch_end=True)
    fit(lightning, through, tmp_path, steps=100 * times, more=[saving], batch=64)
    fit(lightning, resumed, tmp_path, steps=100 * times, checkpoint=tmp_path / "epoch=49.ckpt", batch=64)
    assert resumed.seen == 50
    same(resumed, through)


def test_lightning_without_udv_layers_says_so(lightning, tmp_path):
    model = module(lightning)
    model.network = nn.Linear(12, 3)
    with pytest.raises(InputError, match="no UDV layer"):
        fit(lightning, model, tmp_path)


# --- transformers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def transformers():
    pytest.importorskip("accelerate", reason="needs accelerate")
    return pytest.importorskip("transformers", reason="needs transformers")


class Regression(nn.Module):
    """What the Trainer asks of a model: a loss in what forward returns."""

    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, x, labels):
        y = self.network(x)
        return {"loss": nn.functional.mse_loss(y.float(), labels), "logits": y}


def rows():
    return [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]


def bert(transformers, adapters):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1}
    config = transformers.BertConfig(vocab_size=50, num_labels=2, hidden_dropout_prob=0.0, **sizes)
    config.attention_probs_dropout_prob = 0.0
    model = transformers.BertForSequenceClassification(config)
    if not adapters:
        return convert(model, hidden=6, skip=["bert.pooler.dense", "classifier"])
    lora.add(model, ["query", "value"], rank=4, radius=0.02)
    return model


def sentences():
    ids = torch.randint(0, 50, (64, 6), generator=torch.Generator().manual_seed(2))
    return [{"input_ids": row, "labels": int(row[0] > 24)} for row in ids]


def trainer_of(transformers, model, data, folder, steps=100, **settings):
    from udulib.nn.transformers import ProjectionCallback

    class Seen(transformers.TrainerCallback):
        def on_optimizer_step(self, args, state, control, **kwargs):
            seen.append(feasible(model))

    seen = []
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=0.02,
        lr_scheduler_type="constant",
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **({"save_strategy": "no"} | settings),
    )
    callbacks = [ProjectionCallback(), Seen()]
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=callbacks)
    trainer.seen = seen
    return trainer


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 3}, {"bf16": True}])
def test_trainer_is_feasible_after_each_step(transformers, tmp_path, settings):
    trainer = trainer_of(transformers, Regression(), rows(), tmp_path, **settings)
    trainer.train()
    assert trainer.seen == [True] * 100


@pytest.mark.parametrize("kind", ["module", "converted", "adapters"])
def test_trainer_resumes(transformers, tmp_path, kind):
    def start(folder, steps):
        model = Regression() if kind == "module" else bert(transformers, kind == "adapters")
        data = rows() if kind == "module" else sentences()
        settings = {"save_strategy": "steps", "save_steps": 50}
        return trainer_of(transformers, model, data, tmp_path / folder, steps, **settings)

    through = start("through", 100)
    through.train()
    start("half", 50).train()
    resumed = start("resumed", 100)
    resumed.train(resume_from_checkpoint=str(tmp_path / "half" / "checkpoint-50"))
    assert len(resumed.seen) == 50 and all(resumed.seen)
    same(resumed.model, through.model)


def test_a_checkpoint_is_no_model_for_from_pretrained(transformers, tmp_path):
    """It would be read as random weights; and after training save_pretrained refuses as before."""
    model = bert(transformers, False)
    trainer_of(transformers, model, sentences(), tmp_path, 2, save_strategy="steps", save_steps=2).train()
    assert (tmp_path / "checkpoint-2" / "model.safetensors").exists()
    with pytest.raises((OSError, ValueError), match="config"):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "checkpoint-2")
    with pytest.raises(InputError, match="random weights"):
        model.save_pretrained(tmp_path / "again")
