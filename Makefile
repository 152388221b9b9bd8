# Two commands do everything on a bare machine with Python 3.10 to 3.13; each builds .venv if it is missing:
#   make demo     an image and a clip that come with the package, enlarged; IMAGE=photo.png, MODEL=model.safetensors: yours
#   make test                                             the tests

# The first Python that fits, unless PYTHON says which.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/installed
OUT ?= out/$(basename $(notdir $(IMAGE))).png

.PHONY: demo test lint clean

demo: $(INSTALLED)
	@mkdir -p out
ifeq ($(IMAGE),)
	$(BIN)/supertile demo out/demo
else
	$(BIN)/supertile upscale "$(IMAGE)" "$(OUT)" $(if $(MODEL),--model "$(MODEL)") --overwrite
endif

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile  # a process for each core

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .venv/typed && ln -sfn "$(CURDIR)" .venv/typed/supertile  # the root is the package: mypy wants its name
	cd .venv/typed && ../bin/mypy --config-file "$(CURDIR)/pyproject.toml" --cache-dir ../mypy -p supertile

$(INSTALLED): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.10 to 3.13 is needed, and none was found." >&2; exit 1; fi
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv || \
		{ echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into .venv. PyTorch is a large download: 3 GB on Linux, some minutes."
	@$(BIN)/python -m pip install --quiet --editable '.[cli,dev]'
	@touch $@

clean:
	rm -rf .venv out build *.egg-info
