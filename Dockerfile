# The command line of Supertile.
#
#   docker build --tag supertile .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" supertile upscale photo.png large.png
#
# PYTORCH     pip's arguments for PyTorch. The default is for NVIDIA cards: run with --gpus all. Without a card, the
#             arguments for CPU that https://pytorch.org/get-started/locally/ shows make a much smaller image.
# EXTRAS      of Supertile: cli, formats, cluster.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
COPY . /supertile
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /supertile

FROM python:${PYTHON}-slim
ARG EXTRAS=cli,formats
ARG PYTORCH="torch torchvision"

# gcc compiles the kernels for the processor on first use.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir --root-user-action ignore ${PYTORCH}
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --root-user-action ignore "$(echo /wheels/*.whl)[${EXTRAS}]" && rm -r /wheels

# Any user may keep compiled kernels in /cache; a volume there saves compiling them in every run.
RUN mkdir --mode 1777 /cache
ENV XDG_CACHE_HOME=/cache TRITON_CACHE_DIR=/cache/triton TORCHINDUCTOR_CACHE_DIR=/cache/torchinductor \
    SUPERTILE_MODELS=/models NVIDIA_DRIVER_CAPABILITIES=compute,utility,video

WORKDIR /data
ENTRYPOINT ["supertile"]
