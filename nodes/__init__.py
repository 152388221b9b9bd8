"""ComfyUI nodes. The only folder that imports ComfyUI.

    extension.py             the list of nodes
    loaders.py               nodes that load a model
    combine.py               nodes that make one model of several
    image.py, video.py, folder.py
                             nodes that upscale
    info.py, compare.py      nodes that describe a model, and compare images
    attribution.py, seams.py nodes that measure a model
    host.py                  ComfyUI's memory management, progress and interruption
    folders.py               ComfyUI's folders; whole_folders.py: those of folder.py
    widgets.py, upscaling.py, video_input.py, video_report.py, shown.py, measured_image.py
                             what several nodes share
    progress.py, size.py, model_facts.py, comparison_report.py, folder_report.py, text_image.py
                             what needs no ComfyUI and is tested without it
    locale.py                writes the English texts of the nodes to locales/

Nothing is imported here: the package imports `extension` when ComfyUI asks for its entry point.
"""
