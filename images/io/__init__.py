"""Image files: reading and writing pixels with their metadata. Knows nothing of models or of resizing.

files.py     read_image, write_image     formats.py      suffixes and ImageFormat
picture.py   Picture                     atomic.py       files that appear complete or not at all
metadata.py  EXIF and ICC                sixteen_bit.py, png_writer.py, tiff_writer.py   16 bits per channel
"""
