"""Two nodes of the tests' own: pictures from a file and into a file, to the bit. Copied beside the pack under test."""

import os

import folder_paths
import torch


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


NODE_CLASS_MAPPINGS = {"ProbeLoadTensor": ProbeLoadTensor, "ProbeSaveTensor": ProbeSaveTensor}
