"""A look before the work: a few crops, upscaled by one or several models, beside bicubic.

preview.py    preview(): the crops, their results and the estimate of the whole job
places.py     where a crop tells something
views.py      images and frames of videos to cut crops from
estimates.py  time and size of the whole job
sheet.py      all crops as one image
page.py       all crops as one HTML page with a slider (page.html)
"""
