"""Measure models and images: fidelity, attribution, receptive fields and seams.

fidelity.py        PSNR and SSIM of two images              ssim.py
comparison.py      and where they differ                    comparison_sheet.py   draws it
evaluate.py        models on folders of images              pairs.py, published.py, tables.py
gradients.py       gradients of any network by its input
attribution.py     local attribution maps                   receptive_field.py
seams.py           the error that tiles cause               heatmaps.py           draws these three
"""
