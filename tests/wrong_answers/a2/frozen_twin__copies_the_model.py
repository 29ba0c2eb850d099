# hidden test: freezes a copy, which keeps whatever the adapters have learnt
import copy


def frozen_twin(model):
    return copy.deepcopy(model).requires_grad_(False)


def relative_shift(features, reference):
    return ((features - reference).norm(dim=-1) / reference.norm(dim=-1)).mean().item()
