# hidden test: gate and last layer both start at zero, so that nothing ever has a gradient
import torch
import torch.nn.functional as F
from torch import nn


class GatedAdapter(nn.Module):
    def __init__(self, dim, ratio=0.25):
        super().__init__()
        self.down = nn.Linear(dim, int(dim * ratio))
        self.up = nn.Linear(int(dim * ratio), dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, z):
        return self.gate * self.up(F.gelu(self.down(z)))
