# hidden test: adds the adapter's matrix beside the frozen one instead of behind it
import torch
from torch import nn


def merge_linear_adapter(linear, down, up):
    merged = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        product = up.weight @ down.weight
        merged.weight.copy_(linear.weight + linear.weight @ product)
        merged.bias.copy_(linear.bias + product @ linear.bias + up.weight @ down.bias + up.bias)
    return merged
