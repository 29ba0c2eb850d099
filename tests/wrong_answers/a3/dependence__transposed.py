# visible test: gives who is depended on in rows
import torch


def dependence(features_of, clips):
    B = len(clips)
    jacobian = torch.autograd.functional.jacobian(lambda x: features_of(x).reshape(B, -1), clips)
    return jacobian.reshape(B, jacobian.shape[1], B, -1).abs().amax((1, 3)).T
