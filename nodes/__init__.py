"""ComfyUI nodes. The only folder that imports anything of ComfyUI.

    extension.py  the list of nodes     host.py  ComfyUI's progress, interruption and memory     folders.py  its folders
    loaders.py    files -> models       image.py  video.py  what makes them larger     info.py  what a model is
    widgets.py  upscaling.py  video_input.py        what several of them need
    progress.py  size.py  describe.py  card.py      what needs no ComfyUI, and is tested without it

Nothing is loaded here: the package asks for `extension` when ComfyUI asks the package for its entry point.
"""
