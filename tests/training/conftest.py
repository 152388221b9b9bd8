"""A small corpus and a small network, so that a training takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from supertile.training.config import TrainingConfig
from supertile.training.corpus import Corpus, generate

TINY = {"num_feat": 16, "num_blocks": 1, "attention_dim": 16}


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    generate(folder, seed=1, count=4, size=96, workers=1)
    return folder


@pytest.fixture
def corpus(corpus_folder: Path) -> Corpus:
    return Corpus(corpus_folder, 2)


@pytest.fixture(scope="session")
def config():
    base = TrainingConfig(network=TINY, steps=200, batch=4, patch=12, warmup=10, decay=0.9)
    return lambda **changes: replace(base, **changes)
