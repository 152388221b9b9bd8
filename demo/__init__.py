"""A bundled image and clip, drawn by `training/`, and their upscaling by `supertile demo`."""
