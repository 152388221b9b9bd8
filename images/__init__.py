"""Upscale image files: one image to any size, and many files and folders.

    io/          image files and their metadata
    size.py      "4k", "2x", "1920x1080" -> pixels
    resize.py    antialiased, in linear light        imresize.py  MATLAB's bicubic
    alpha.py     transparency                        channels.py  what a model takes
    arrays.py    PIL images and NumPy arrays         upscaler.py  the public Upscaler
    upscale.py   one image, one file                 jobs.py      which file becomes which
    batch.py     many files

The modules are imported by name. Nothing is loaded here, so that `supertile --help` does not wait for torch.
"""
