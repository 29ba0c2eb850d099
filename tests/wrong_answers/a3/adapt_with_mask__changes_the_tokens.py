# visible test: adds the temporal embedding in place, so that the second call starts from other tokens
from einops import rearrange


def adapt_with_mask(model, tokens, mask):
    B = len(tokens)
    tokens += model.temporal[:, None]
    for block in model.adapted.values():
        tokens = block(tokens, mask)
    frames = rearrange(model.backbone.norm(tokens), "b t n d -> (b t) n d")
    return rearrange(model.backbone.forward_head(frames), "(b t) d -> b t d", b=B)
