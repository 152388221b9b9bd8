"""Image files: reading and writing pixels with their metadata. Knows nothing of models or of resizing.

files.py     read_image                  writing.py     write_image
picture.py   Picture                     formats.py     suffixes and ImageFormat
opening.py   Pillow's readers            pixels.py, sixteen_bit.py      pixels of an opened image
png_reader.py, jpeg_reader.py, ppm_reader.py, tga_reader.py, *_boxes.py    what Pillow does not read
metadata.py, color_tags.py, text.py, iptc.py    EXIF, XMP and ICC; colors; text of PNG in other formats; captions
png_writer.py, tiff_writer.py            16 bits per channel
warned.py passes warnings on as sentences
animation.py tells animations apart      atomic.py      files that appear complete or not at all
"""
