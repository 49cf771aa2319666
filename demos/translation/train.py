"""Trains the translator of numbers and writes its graph and vocabulary.

    PYTHONPATH=demos python -m translation.train --output demos/models/translate_numbers/1

Needs torch, numpy and onnx. One thread is enough: the network has 0.6 million weights.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from translation import graph, phrases, pieces, sentences
from translation.symbols import Example, Symbols

PIECES = 220
EMBEDDING = 128
HIDDEN = 224
LAYERS = 2
BATCH = 96
RATE_MAX = 3e-3
NOTHING = -100  # a position without a label, in torch's own number for it


class Network(nn.Module):  # type: ignore[misc]  # torch is absent where types are checked
    """Reads symbols [B, T] of sentences in languages [B]; gives logits [B, T, outputs]."""

    def __init__(self, input_count: int, output_count: int) -> None:
        super().__init__()
        self.symbols = nn.Embedding(input_count, EMBEDDING)
        self.languages = nn.Embedding(len(phrases.LANGUAGES), EMBEDDING)
        self.recurrent = nn.GRU(EMBEDDING, HIDDEN, LAYERS, batch_first=True, dropout=0.1)
        self.output = nn.Linear(HIDDEN, output_count)

    def forward(self, inputs: torch.Tensor, languages: torch.Tensor) -> torch.Tensor:
        embedded = self.symbols(inputs) + self.languages(languages)[:, None]
        hidden, _ = self.recurrent(embedded)
        return self.output(hidden)


def learned_pieces(seed: int) -> pieces.Pieces:
    rng = random.Random(seed)
    texts = [
        phrases.translation(sentences.training_sentence(rng), rng.choice(phrases.LANGUAGES))
        for _ in range(20_000)
    ]
    return pieces.Pieces(pieces.learn(texts, PIECES))


def batches(symbols: Symbols, seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Endless batches of sentences of like length: inputs, outputs [B, T] and languages [B]."""
    rng = random.Random(seed)
    while True:
        pool = [
            symbols.example(sentences.training_sentence(rng), rng.choice(phrases.LANGUAGES))
            for _ in range(BATCH * 20)
        ]
        pool.sort(key=lambda example: len(example.inputs))
        starts = list(range(0, len(pool), BATCH))
        rng.shuffle(starts)
        for start in starts:
            yield _tensors(pool[start : start + BATCH])


def _tensors(examples: list[Example]) -> tuple[torch.Tensor, ...]:
    length = max(len(example.inputs) for example in examples)
    inputs = np.zeros((len(examples), length), np.int64)
    outputs = np.full((len(examples), length), NOTHING, np.int64)
    for row, example in enumerate(examples):
        inputs[row, : len(example.inputs)] = example.inputs
        outputs[row, : len(example.outputs)] = example.outputs
    languages = np.array([example.language for example in examples])
    return torch.from_numpy(inputs), torch.from_numpy(outputs), torch.from_numpy(languages)


def train(network: Network, symbols: Symbols, minutes: float, seed: int) -> None:
    """Adam with a rate that falls as a half cosine over the time; nothing is kept but the end."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.0, betas=(0.9, 0.98))
    loss_of = nn.CrossEntropyLoss(ignore_index=NOTHING)
    began = time.monotonic()
    for step, (inputs, outputs, languages) in enumerate(batches(symbols, seed)):
        done = (time.monotonic() - began) / (60 * minutes)
        if done >= 1:
            break
        rate = RATE_MAX * min(1.0, step / 200) * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.param_groups[0]["lr"] = rate
        logits = network(inputs, languages)
        loss = loss_of(logits.flatten(0, 1), outputs.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            labelled = outputs != NOTHING
            wrong = ((logits.argmax(-1) != outputs) & labelled).any(1).float().mean()
            print(
                f"{done:4.0%} step {step:6d} loss {loss.item():.5f} sentences wrong {wrong:.3f}",
                flush=True,
            )


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train the translator of numbers.")
    arguments.add_argument("--minutes", type=float, default=25.0)
    arguments.add_argument("--seed", type=int, default=4)
    arguments.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    symbols = Symbols(learned_pieces(options.seed))
    network = Network(symbols.input_count, symbols.output_count)
    print(f"{sum(weights.numel() for weights in network.parameters()):,} weights")
    train(network, symbols, options.minutes, options.seed + 1)
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    options.output.mkdir(parents=True, exist_ok=True)
    graph.write(weights, LAYERS, options.output / "step.onnx")
    vocabulary = {
        "languages": phrases.LANGUAGES,
        "source_words": phrases.SOURCE_WORDS,
        "pieces": symbols.pieces.pieces,
    }
    (options.output / "vocabulary.json").write_text(
        json.dumps(vocabulary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
