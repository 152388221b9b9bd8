"""A look before the work: a few crops, upscaled by one or several models, beside bicubic.

preview.py    preview(): the crops, their results and the estimate of the whole job
result.py     Preview, Crop, Method: what it returns
places.py     where a crop tells something
sources.py    open an image, or frames spread over a video
views.py      images and frames to cut crops from
estimates.py  time and size of the whole job
labels.py     the words beside crops
sheet.py      all crops as one image
page.py       all crops as one HTML page with a slider (page.html)
"""
