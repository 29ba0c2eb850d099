# visible test: depth 0 skips the last blocks instead of running them frozen
from taskadapter_lite.model import TaskAdapterViT


def frozen_twin(model):
    return TaskAdapterViT(model.backbone, depth=0, T=model.T)


def relative_shift(features, reference):
    return ((features - reference).norm(dim=-1) / reference.norm(dim=-1)).mean().item()
