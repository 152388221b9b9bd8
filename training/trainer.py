"""A network learns: its steps, what is kept between them, checkpoints to go on from.

What a step does depends on nothing but the checkpoint and the corpus: crops are drawn from the seed and the number of
the step. So a training that was interrupted goes on as it would have.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..arch import VapSR
from . import growth, optimizers, vapsr
from .averages import MovingAverage
from .config import TrainingConfig
from .corpus import Corpus, Mixture
from .depthwise import FastDepthwise
from .errors import TrainingError
from .losses import PIXEL_LOSSES, loss
from .networks import build, take_trunk
from .schedule import learning_rate


class Trainer:
    """A training between two of its steps.

    Attributes:
        net, average: the network that learns, and the moving average of its weights.
        step: the number of the next step, from 0.
    """

    def __init__(self, config: TrainingConfig, corpus: Corpus | Mixture, device: torch.device | str = "cpu") -> None:
        if corpus.scale != config.scale:
            raise TrainingError(f"The corpus was opened for x{corpus.scale}, the network enlarges by {config.scale}")
        if config.loss not in PIXEL_LOSSES:
            raise TrainingError(f"There is no loss {config.loss!r}; there are {', '.join(PIXEL_LOSSES)}")
        self.config, self.corpus, self.device = config, corpus, torch.device(device)
        self.net = build(config.family, {**config.network, "scale": config.scale}, config.seed).to(self.device).train()
        self.average = MovingAverage(self.net, config.decay)
        self.optimizers = optimizers.make(config.optimizer, self.net, config.learning_rate)
        self.half = _half_precision(self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)
        self.step = 0

    def begin_with(self, weights: dict[str, Tensor]) -> list[str]:
        """Start from another network of this family; returns the names of what it has not, such as another head.

        A VapSR with fewer blocks is deepened, see `growth`.
        """
        start = self.net.state_dict()
        if self.config.family == VapSR.__name__ and 0 < growth.blocks(weights) < growth.blocks(start):
            weights = growth.deepened(weights, start)
        left = take_trunk(self.net, weights)
        self.average = MovingAverage(self.net, self.config.decay)
        return left

    def run(self, steps: int | None = None) -> Iterator[float]:
        """Do `steps` steps, or all that are left; yields the loss of each. Raises TrainingError when it diverges."""
        left = self.config.steps - self.step
        for _ in range(left if steps is None else min(steps, left)):
            yield self._one_step()

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        c = self.config
        return learning_rate(self.step, steps=c.steps, peak=c.learning_rate, warmup=c.warmup, cooldown=c.cooldown)

    def _one_step(self) -> float:
        c = self.config
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = self.rate
        crops = self.corpus.batch(c.seed, self.step, c.batch, c.patch, c.degraded_share, c.plain_share)
        small, large = (x.to(self.device) for x in crops)
        with self._autocast(), FastDepthwise():
            value = loss(self._result(small).float(), large, c.loss, c.frequency_weight, c.color_weight)
        self.scaler.scale(value).backward()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.net.parameters(), c.clip)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        if not math.isfinite(mean := float(value.detach())):
            raise TrainingError(
                f"The loss of step {self.step} is {mean}; go on from an earlier checkpoint with a lower learning rate"
            )
        self.average.update(self.net, self.step)
        self.step += 1
        return mean

    def _result(self, small: Tensor) -> Tensor:
        if isinstance(self.net, VapSR) and vapsr.supports(self.net, small):
            return vapsr.forward(self.net, small)
        result: Tensor = self.net(small)
        return result

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.half) if self.half else nullcontext()

    def save(self, path: Path) -> None:
        """Write a checkpoint to go on from; it is complete or not there."""
        part = path.with_name(f".{path.name}.part")
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "params": self.net.state_dict(),
            "params_ema": self.average.net.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
        }
        torch.save(state, part)
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same network. Raises TrainingError."""
        with _reading(path):
            state = torch.load(path, map_location=self.device, weights_only=True)
            mine = asdict(self.config)
            for name in ("family", "scale", "network", "optimizer"):
                if state["config"][name] != mine[name]:
                    raise TrainingError(f"{path} is a training of {name} {state['config'][name]}, not {mine[name]}")
            self.net.load_state_dict(state["params"])
            self.average.net.load_state_dict(state["params_ema"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.scaler.load_state_dict(state["scaler"])
            self.step = int(state["step"])


def read_state(path: Path) -> tuple[TrainingConfig, int, dict[str, Tensor]]:
    """Of a checkpoint: what was trained, how many steps it has done, the averaged weights. Raises TrainingError."""
    with _reading(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        return TrainingConfig(**state["config"]), int(state["step"]), dict(state["params_ema"])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:  # whatever a missing or damaged file makes of torch
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(f"{path} is no checkpoint that a training can go on from ({reason})") from error


def _half_precision(device: torch.device) -> torch.dtype | None:
    """bf16 on CUDA, fp16 where a GPU has no bf16. None on CPUs: in bf16 every training there ran into NaN."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
