"""An image and a clip to try everything with, drawn by `training/`, and what `supertile demo` makes of them."""
