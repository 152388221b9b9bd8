"""An image file -> a larger image file: reading, writing, resizing and the walk over folders.

    files.py      read_image, write_image       size.py     "4k", "2x", "1920x1080" -> pixels
    resize.py     antialiased, in linear light  upscale.py  a Image through an Upscaler
    batch.py      many files and folders

The modules are imported by name; nothing is loaded here, so that `supertile --help` need not wait for torch.
"""
