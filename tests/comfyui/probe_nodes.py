"""Nodes for the tests: load and save images to the bit, attach handles of dynamic VRAM to a model, make videos that
are no files."""

import io
import os
import threading

import folder_paths
import torch
from comfy_api.latest import InputImpl


class ProbeLoadTensor:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"name": ("STRING", {})}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "load", "probe"

    def load(self, name):
        return (torch.load(os.path.join(folder_paths.get_input_directory(), name), weights_only=True),)


class ProbeSaveTensor:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"image": ("IMAGE",), "name": ("STRING", {})}})
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "save", "probe", True

    def save(self, image, name):
        torch.save(image.clone(), os.path.join(folder_paths.get_output_directory(), name))
        return {}


class ProbeDynamicVRAM:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"upscale_model": ("UPSCALE_MODEL",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("UPSCALE_MODEL",), "hang", "probe"

    def hang(self, upscale_model):
        upscale_model.model.dynamic_vbars = {0: threading.Lock()}  # a lock cannot be copied, like the real handles
        return (upscale_model,)


class ProbeVideoInMemory:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"name": ("STRING", {})}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("VIDEO",), "load", "probe"

    def load(self, name):
        with open(os.path.join(folder_paths.get_input_directory(), name), "rb") as file:
            return (InputImpl.VideoFromFile(io.BytesIO(file.read())),)


class ProbeNoVideo:
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("VIDEO",), "give", "probe"

    def give(self):
        return ({},)


PROBES = (ProbeLoadTensor, ProbeSaveTensor, ProbeDynamicVRAM, ProbeVideoInMemory, ProbeNoVideo)
NODE_CLASS_MAPPINGS = {each.__name__: each for each in PROBES}
