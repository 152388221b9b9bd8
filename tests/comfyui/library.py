"""What the library makes of the same images or video, by the interpreter and the PyTorch that ComfyUI runs on."""

import json
import sys

import torch
from supertile import EncoderOptions, Upscaler, load_model, upscale_image, upscale_video
from supertile.images.io.picture import Picture

model, source, target, size, options = sys.argv[1:]
if not source.endswith(".pt"):
    encoder = EncoderOptions(**json.loads(options))
    upscale_video(source, target, Upscaler(load_model(model), device="cpu"), size=size or None, encoder=encoder)
    sys.exit()
upscaler = Upscaler(load_model(model), device="cpu", **json.loads(options))
results = []
for image in torch.load(source, weights_only=True):
    planes = image.movedim(-1, 0).contiguous()
    pixels = Picture(planes) if planes.shape[0] == 3 else Picture(planes[:3], planes[3:])
    larger = upscale_image(pixels, upscaler, size=size or None)
    planes = larger.color if larger.alpha is None else torch.cat([larger.color, larger.alpha])
    results.append(planes.movedim(0, -1))
torch.save(torch.stack(results).contiguous(), target)
