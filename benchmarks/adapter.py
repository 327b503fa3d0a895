"""A training step with the UDV adapter and with ordinary LoRA: ``OMP_NUM_THREADS=1 python benchmarks/adapter.py``.

Ours and peft's adapt queries and values of all layers of a BERT of MiniLM-L6's shape at rank 16, with AdamW. Time is
that of this thread. Memory is what a step holds beside the frozen base: what autograd keeps for the backward pass, the
adapter, its gradients and the optimizer's state, counted in bytes.
"""

import copy
import warnings

import torch
from _timing import shortest, write

from udulib import lora
from udulib.nn import attach

RANK, TARGETS = 16, ("query", "value")
SENTENCES, TOKENS = 16, 32
REPEATS = 12


def main():
    torch.set_num_threads(1)
    found = measure()
    print(f"rank {RANK}, {SENTENCES} sentences of {TOKENS} tokens, one thread; a training step")
    print(f"{'':16}{'milliseconds':>14}{'megabytes':>12}")
    for name in ("peft LoRA", "plain, ours", "UDV"):
        print(f"{name:16}{found['milliseconds'][name]:14.1f}{found['megabytes'][name]:12.2f}")
    print(f"UDV over peft LoRA: {found['time_ratio']:.3f}x the time, {found['memory_ratio']:.3f}x the memory")
    write(adapter=found, adapter_time_ratio=found["time_ratio"], adapter_memory_ratio=found["memory_ratio"])


def measure(repeats=REPEATS):
    """Milliseconds and megabytes of a step for each contender, and UDV over peft's LoRA."""
    steps = contenders()
    for step in steps.values():
        step()  # makes the optimizer's state
    megabytes = {name: held(step) / 1e6 for name, step in steps.items()}
    milliseconds = {name: 1e3 * seconds for name, seconds in shortest(steps, repeats).items()}
    return {
        "milliseconds": milliseconds,
        "megabytes": megabytes,
        "time_ratio": milliseconds["UDV"] / milliseconds["peft LoRA"],
        "memory_ratio": megabytes["UDV"] / megabytes["peft LoRA"],
    }


def contenders():
    """One training step of each, on the same base and sentences."""
    import peft
    import transformers

    torch.manual_seed(0)
    base = transformers.BertModel(transformers.BertConfig(**SHAPE)).train()
    ids = torch.randint(0, SHAPE["vocab_size"], (SENTENCES, TOKENS))
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(TARGETS))
    models = {"peft LoRA": peft.get_peft_model(copy.deepcopy(base), config)}
    for name, radius in (("plain, ours", None), ("UDV", 1.0)):
        models[name] = copy.deepcopy(base)
        lora.add(models[name], TARGETS, RANK, radius)
    return {name: Step(model, ids, projected=name == "UDV") for name, model in models.items()}


SHAPE = {
    "vocab_size": 1000,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


class Step:
    """A training step of one model, to be called again and again."""

    def __init__(self, model, ids, projected):
        self.model, self.ids = model, ids
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-3)
        if projected:
            attach(self.optimizer, model)

    def __call__(self):
        self.optimizer.zero_grad()
        self.model(input_ids=self.ids).last_hidden_state[:, 0].square().mean().backward()
        self.optimizer.step()


def held(step):
    """Bytes that a step holds beside the frozen base."""
    frozen = {p.untyped_storage().data_ptr() for p in step.model.parameters() if not p.requires_grad}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    state = [t for entry in step.optimizer.state.values() for t in entry.values()]
    own = [*step.trained, *(p.grad for p in step.trained), *state]
    return sum(kept.values()) + sum(tensor.nbytes for tensor in own if tensor.data_ptr() not in kept)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated")  # peft asks, transformers warns
        main()
