"""The recogniser: log-mel features, two causal convolutions, three recurrent layers, words.

    features [B, 4 n, 40] -> 24 x [2 n, 20] -> 32 x [n, 10] -> GRU x 3 -> [n, tokens] (25 a second)

Nothing looks ahead, and everything that is carried from chunk to chunk is a named state with its
batch at axis 0.
"""

import torch
from torch import Tensor, nn

import features
import vocabulary

WIDTH = 224
LAYERS = 3
FRAMES_PER_TOKEN = 4


class Recogniser(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be absent
    """Features without their running mean -> log probabilities of tokens."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, 3, stride=2, padding=(0, 1))
        self.conv2 = nn.Conv2d(24, 32, 3, stride=2, padding=(0, 1))
        inputs = [32 * features.MELS // 4, WIDTH, WIDTH]
        self.layers = nn.ModuleList(nn.GRU(size, WIDTH, batch_first=True) for size in inputs)
        self.dropout = nn.Dropout(dropout)
        self.words = nn.Linear(WIDTH, vocabulary.TOKENS)
        self.phones = nn.Linear(WIDTH, len(vocabulary.PHONES) + 1)  # helps training, not exported

    def convolved(
        self, mels: Tensor, before1: Tensor, before2: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 4 n, 40], [B, 1, 1, 40], [B, 24, 1, 20] -> [B, n, 320] and the next two states."""
        x = torch.cat([before1, (mels * features.SCALE).unsqueeze(1)], dim=2)
        y = torch.cat([before2, torch.relu(self.conv1(x))], dim=2)
        z = torch.relu(self.conv2(y))
        return z.transpose(1, 2).flatten(2), x[:, :, -1:], y[:, :, -1:]

    def forward(self, mels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 4 n, 40] of whole streams -> log probabilities [B, n, tokens], [B, n, phones]."""
        batch = mels.shape[0]
        x, _, _ = self.convolved(
            mels, *(state.expand(batch, *state.shape[1:]) for state in empty_states())
        )
        phones = None
        for layer in self.layers:
            y, _ = layer(self.dropout(x))
            x = y if phones is None else x + y  # what one layer found reaches all above it
            phones = self.phones(x) if phones is None else phones
        assert phones is not None
        return self.words(self.dropout(x)).log_softmax(-1), phones.log_softmax(-1)


def empty_states() -> tuple[Tensor, Tensor]:
    """The states of the convolutions before the first frame, for a batch of one."""
    return torch.zeros(1, 1, 1, features.MELS), torch.zeros(1, 24, 1, features.MELS // 2)
