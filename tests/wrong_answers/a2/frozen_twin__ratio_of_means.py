# visible test: divides the mean distance by the mean length instead of averaging ratios
from taskadapter_lite.model import TaskAdapterViT


def frozen_twin(model):
    return TaskAdapterViT(model.backbone, depth=model.depth, T=model.T, axes=(), temporal_embedding=None)


def relative_shift(features, reference):
    return ((features - reference).norm(dim=-1).mean() / reference.norm(dim=-1).mean()).item()
