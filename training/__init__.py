"""Training: images made here, networks that learn from them, files that `load_model` opens. Not part of upscaling."""
