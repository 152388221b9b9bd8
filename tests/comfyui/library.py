"""Upscale images or a video with the library, on the interpreter and the PyTorch of ComfyUI."""

import json
import sys

import torch
from supertile import EncoderOptions, Upscaler, blend_models, chain_models, load_model, upscale_image, upscale_video
from supertile.images.io.picture import Picture

model, source, target, size, options = sys.argv[1:]
if not source.endswith(".pt"):
    encoder = EncoderOptions(**json.loads(options))
    upscale_video(source, target, Upscaler(load_model(model), device="cpu"), size=size or None, encoder=encoder)
    sys.exit()
options = json.loads(options)
network, mask = load_model(model, denoise=options.pop("denoise", None)), options.pop("mask", None)
if (blend := options.pop("blend", None)) is not None:
    network = blend_models(network, *blend)
network = chain_models(network, *options.pop("then", []))
upscaler = Upscaler(network, device="cpu", **options)
mask = None if mask is None else torch.load(mask, weights_only=True)[0, ..., 0]
results = []
for image in torch.load(source, weights_only=True):
    planes = image.movedim(-1, 0).contiguous()
    pixels = Picture(planes) if planes.shape[0] == 3 else Picture(planes[:3], planes[3:])
    larger = upscale_image(pixels, upscaler, size=size or None, mask=mask)
    planes = larger.color if larger.alpha is None else torch.cat([larger.color, larger.alpha])
    results.append(planes.movedim(0, -1))
torch.save(torch.stack(results).contiguous(), target)
