"""From what a training program saved to one network's tensors under its own names. Pure functions, no files.

Frameworks nest state dicts in one another (`params_ema` beside `params`, a discriminator beside the generator) and put
wrappers' names before each tensor's (`module.`, `_orig_mod.`). All of this also runs over checkpoints of architectures
that are not ours, so a name changes only where it certainly is a wrapper's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from .errors import NotAModelError
from .tensor_info import TensorInfo

T = TypeVar("T")

# Where the network lies among what was saved with it, best first. The averaged weights are the published ones.
_PREFERRED = (
    "params_ema", "params-ema", "ema", "model_ema", "params", "state_dict", "model_state_dict",
    "generator", "net_g", "netG", "model", "net",
)  # fmt: skip
_TRAINING = frozenset(
    {"optimizer", "optimizers", "optimizer_states", "optimizer_state_dict", "param_groups", "state"}
    | {"scheduler", "schedulers", "lr_scheduler", "lr_schedulers", "net_d", "netD", "discriminator"}
)
_MAX_NESTING = 6

# Wrappers no architecture uses as a name of its own, so they go wherever every tensor has them.
_PURE_WRAPPERS = ("module.", "_orig_mod.", "netG.", "net_g.")
# `generator.` and `model.` belong to names of other architectures (LaMa; old ESRGAN, DnCNN). They go only where they
# stand before the first convolution that our networks and their relatives have.
_ANCHOR = "conv_first.weight"
_WRAPPED_ANCHOR = re.compile(
    r"((?:module\.|_orig_mod\.|netG\.|net_g\.|generator\.|model\.|net_g_ema\.|ema_model\.|online_model\.)+)"
    + re.escape(_ANCHOR)
)
# The generator in a mixture of networks of other families.
_GENERATOR = re.compile(r"(net_?g_ema|generator_ema|model_ema|ema_model|ema|net_?g|generator)\.", re.IGNORECASE)
# Counters that averaging wrappers (AveragedModel, ema-pytorch) hold beside the network, outside its prefix.
_COUNTERS = frozenset({"n_averaged", "initted", "step"})

_TRAINING_BUFFER_NAMES = _COUNTERS | {"std_ema", "mean"}
_TRAINING_BUFFER_LEAVES = ("attn_mask", "num_batches_tracked")
_INDEX_BUFFER = "relative_position_index"  # also with the suffixes _SA and _OCA


def select_state(obj: object) -> tuple[str, dict[str, Any]]:
    """Find the network's state dict in what a checkpoint holds.

    `obj` may be nested mappings of tensors or of `TensorInfo`. Returns the keys that lead to the state dict, joined by
    " > " (empty for a bare one), and a new dict of its tensors; leaves that are no tensors are dropped.

    Raises:
        NotAModelError: there is none, with what is there instead.
    """
    found = _find_state(obj, _MAX_NESTING)
    if found is not None:
        return found
    if isinstance(obj, Mapping) and any(key in _TRAINING for key in obj if isinstance(key, str)):
        raise NotAModelError(
            None,
            "it holds a training state (optimizer, schedulers), not a network; choose the network's file beside it",
        )
    raise NotAModelError(None, "there are no tensors of a network in it; choose another file")


def _find_state(obj: object, depth: int) -> tuple[str, dict[str, Any]] | None:
    if not isinstance(obj, Mapping) or depth == 0:
        return None
    for key in _PREFERRED:
        if key in obj and (found := _find_state(obj[key], depth - 1)):
            return _under(key, found)
    own = {key: value for key, value in obj.items() if isinstance(key, str) and _is_tensor(value)}
    # A key nobody agreed on ("weights") is followed if it is the only way on and leads to more than lies here.
    ways = [key for key, value in obj.items() if isinstance(key, str) and isinstance(value, Mapping)]
    nested = [(key, found) for key in ways if key not in _TRAINING and (found := _find_state(obj[key], depth - 1))]
    if len(nested) == 1 and len(nested[0][1][1]) > len(own):
        return _under(*nested[0])
    return ("", own) if own else None


def _under(key: str, found: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    where, state = found
    return (f"{key} > {where}" if where else key), state


def _is_tensor(value: object) -> bool:
    return isinstance(value, (torch.Tensor, TensorInfo))


def clean_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Give a network's tensors the names they have in its own state dict.

    Wrappers' prefixes are stripped, in any order and number. Where the file mixes networks (a Lightning checkpoint
    with `net_g.*` and `net_d.*`), the one that has `conv_first.weight` is kept and the others are dropped. Names of
    unknown architectures stay as they are. The values are not looked at; the order is kept.
    """
    # torch.compile puts its wrapper also in the middle of names, when only parts of a network were compiled.
    names = {name.replace("_orig_mod.", ""): name for name in tensors}
    if len(names) != len(tensors):  # then two tensors would share a name, and it is something else
        names = {name: name for name in tensors}

    if _ANCHOR not in names:
        stacks = [match[1] for name in names if (match := _WRAPPED_ANCHOR.fullmatch(name))]
        shared = next((names for names in without_shared_prefixes(names) if _ANCHOR in names), None)
        if shared:  # by whatever name
            names = {name: names[stored] for name, stored in shared.items()}
        elif stacks:
            prefix = max(stacks, key=lambda stack: ("ema" in stack, -len(stack)))
            names = {name[len(prefix) :]: original for name, original in names.items() if name.startswith(prefix)}
        else:
            names = _strip_shared(names)
    return {name: tensors[original] for name, original in names.items()}


def _strip_shared(names: dict[str, str]) -> dict[str, str]:
    """Strip the wrappers that all tensors share; the counters of averaging wrappers stand outside and go with them."""
    while True:
        inner = [name for name in names if name not in _COUNTERS]
        prefix = next((wrapper for wrapper in _PURE_WRAPPERS if _all_longer(inner, wrapper)), None)
        if prefix is None:
            return names
        names = {name[len(prefix) :]: names[name] for name in inner}


def without_shared_prefixes(tensors: Iterable[str]) -> list[dict[str, str]]:
    """Take off the prefixes that all names share, one more each time; returns new name -> name for each number of them.

    A prefix ends with a dot. The counters of averaging wrappers stand outside of it and are left out.
    """
    names = {name: name for name in tensors if name not in _COUNTERS}
    results = []
    while names:
        prefix = next(iter(names)).partition(".")[0] + "."
        if not _all_longer(names, prefix):
            break
        names = {name[len(prefix) :]: stored for name, stored in names.items()}
        results.append(names)
    return results


def generators(tensors: Iterable[str]) -> list[dict[str, str]]:
    """Take the generators out of a mixture of networks, averaged ones first; returns new name -> name for each."""
    found: dict[str, dict[str, str]] = {}
    for stored in tensors:
        if match := _GENERATOR.match(stored):
            found.setdefault(match[0], {})[stored[match.end() :]] = stored
    return [found[prefix] for prefix in sorted(found, key=lambda prefix: "ema" not in prefix.lower())]


def _all_longer(names: Iterable[str], prefix: str) -> bool:
    names = list(names)
    return bool(names) and all(name.startswith(prefix) and len(name) > len(prefix) for name in names)


def drop_training_buffers(tensors: Mapping[str, T]) -> dict[str, T]:
    """Drop what training programs store beside the weights of HAT, HiT-SR and VapSR.

    These are counters, masks, index tables (which the networks compute) and running statistics. For these families
    only: in another architecture a tensor called `mean` can be a weight.
    """
    return {name: value for name, value in tensors.items() if not _is_training_buffer(name)}


def _is_training_buffer(name: str) -> bool:
    leaf = name.rpartition(".")[2]
    return name in _TRAINING_BUFFER_NAMES or leaf in _TRAINING_BUFFER_LEAVES or leaf.startswith(_INDEX_BUFFER)


def interpolated(first: Mapping[str, Tensor], second: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
    """Return the weights between those of two networks with the same names and shapes, as fp32.

    What is not floating point, such as an index, is taken from the first.
    """
    return {
        name: tensor.float().lerp(second[name].float(), weight) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }
