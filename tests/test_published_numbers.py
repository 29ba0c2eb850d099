"""Numbers of the published method on small arrays, so that what was once compared with public code stays as it was.

The arrays are made by a formula, not drawn: they are the same with every version of every library. The expected scores
come from code of other people (OTAM) or from loops over the formulas of the papers (Bi-MHM, TRX), all in float64. The
features and gradients of the block are this library's own, of the day on which they agreed with the public code to
1.5e-6 and 6e-5 on shared weights.
"""

import math

import torch
from timm.models.vision_transformer import VisionTransformer

from taskadapter_lite.metrics import TRX, bimhm_scores, otam_scores
from taskadapter_lite.model import TaskAdapterViT


def wave(*shape, step, start=0.0):
    """Numbers in -1..1 that look irregular."""
    return torch.sin(start + step * torch.arange(math.prod(shape), dtype=torch.float64) ** 1.5).view(shape)


SUPPORT = wave(2, 2, 4, 3, step=0.37)  # 2 classes, 2 shots, 4 frames, 3 channels
QUERY = wave(3, 4, 3, step=0.53, start=1.0)


def check(found, expected, tolerance=2e-6):
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=tolerance)


def test_otam_as_in_public_code_with_distances_averaged_over_shots():
    expected = [
        [-2.8875157067748196, -4.3282351179203955],
        [-5.250462100294893, -1.3972258939065325],
        [-3.138853768161298, -4.536996971453535],
    ]
    check(otam_scores(SUPPORT, QUERY), expected)


def test_bimhm_as_a_loop_over_frames():
    expected = [
        [-0.6484046234479597, -0.9278156889557467],
        [-0.7415884191973436, -0.05514033795978501],
        [-0.5635488806834383, -0.901871526464903],
    ]
    check(bimhm_scores(SUPPORT, QUERY), expected)


def test_trx_as_a_loop_over_tuples():
    trx = TRX(3, 4, (2, 3), key_dim=5)
    with torch.no_grad():
        for i, parameter in enumerate(trx.parameters()):
            parameter.copy_(wave(*parameter.shape, step=0.21, start=float(i)))
    expected = [
        [-10.993541533779045, -13.127776700938512],
        [-4.97564611577662, -2.3778437946057887],
        [-14.923910539637077, -14.92741972311519],
    ]
    check(trx(SUPPORT.float(), QUERY.float()), expected, 1e-5)


def published_model() -> TaskAdapterViT:
    """As published: split scope, embedding at the input, a task adapter that does not start at zero."""
    shape = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 3, "num_heads": 2, "num_classes": 0}
    backbone = VisionTransformer(**shape, global_pool="token").eval()
    vars(backbone)["pretrained_cfg"] = {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    model = TaskAdapterViT(backbone, 2, 3, scope="split", zero_init=False, temporal_embedding="input")
    model.double()
    with torch.no_grad():
        for i, (_, parameter) in enumerate(sorted(model.named_parameters())):
            parameter.copy_(0.6 * wave(*parameter.shape, step=0.13, start=float(i)))
    return model.eval()


def test_features_and_gradients_of_the_published_block():
    model = published_model()
    clips = (wave(5, 3, 3, 8, 8, step=0.011) + 1) / 2
    features = model(clips, 3)
    assert features.shape == (5, 3, 8)
    check(features[[0, 2, 3, 4], 1, :4], FEATURES, 1.5e-6)
    (features * wave(*features.shape, step=0.7)).sum().backward()
    found = [model.adapted["1"].task.up.weight.grad[0, :2], model.adapted["2"].time.down.bias.grad[:2]]
    check(torch.stack([*found, model.temporal.grad[1, :2]]), GRADIENTS, 1e-6)
    joint = published_model()
    joint.scope = "joint"
    assert (joint(clips, 3) - features).abs().max() > 1e-3  # the pin tells scopes apart


FEATURES = [  # of two support clips and two queries, frame 1, four of eight channels
    [-1.2359955836379743, 0.40897774371024626, 0.05647809802142569, 0.46767550279193343],
    [-1.2122743968301364, 0.37821683780457666, 0.0019347458290428577, 0.4872699681147326],
    [-1.2194624259500881, 0.3840367687256622, 0.0007024137841382465, 0.508919322607998],
    [-1.2121562291925143, 0.38375804321892326, 0.00997762665432378, 0.5328441662367267],
]
GRADIENTS = [  # of a task adapter, a time adapter and the temporal embedding
    [-0.0010934193421760197, 0.018343592797740095],
    [-0.0032250241613134365, 0.012313341551543636],
    [-0.04265570692613884, -0.15652490381017437],
]
