# The command line of Supertile.
#
#   docker build --tag supertile .
#   docker run --rm --volume "$PWD:/data" supertile upscale photo.png large.png
#
# PYTORCH     pip's arguments for PyTorch. The default is for NVIDIA cards: run with --gpus all. Without a card, the
#             arguments for CPU that https://pytorch.org/get-started/locally/ shows make an image of a quarter the size.
# EXTRAS      of Supertile: cli, formats, cluster.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG EXTRAS=cli,formats
ARG PYTORCH="torch torchvision"

# gcc compiles the kernels for the processor on first use.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

COPY . /supertile
RUN pip install --no-cache-dir ${PYTORCH} && pip install --no-cache-dir "/supertile[${EXTRAS}]" && rm -rf /supertile

WORKDIR /data
ENTRYPOINT ["supertile"]
