# dkt_ros without a ROS install: everything happens in .venv, with Python 3.11 or 3.12, pip and the package index only.
# People with ROS 2 use colcon instead (see README.md) and need none of this.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RENDER_VENV := .venv-render
RENDER_BIN := $(RENDER_VENV)/bin

# Held-out sequences for `make eval`, rendered if they are not there; and those with a family of objects, a group of
# materials and a light that training never saw. A few seeds more than 40 and 20, for those that the validator rejects.
# The size is the recipe's, 160x96: the bundled model works at that.
DATA ?= data/heldout
UNSEEN ?= data/unseen
HELDOUT := --recipe full --seed 9500 --count 42 --frames 13
NEVER_SEEN := --recipe unseen --seed 9600 --count 22 --frames 13
OUT ?= out

TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint eval bench soak bench-engines bench-transport grasp-trials render-env heldout unseen clean

help:  ## this list
	@echo 'make TARGET'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  \1|\2/' | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

venv: $(VENV)/.installed  ## the environment in .venv: CPU torch, ROS 2 wheels, this package (editable), test tools

# The CPU build of torch first and alone: it has a local version (+cpu), which an index or a folder of wheels on this
# machine may offer; else it comes from PyTorch's own index. The plain one on the Python index would bring CUDA along.
$(VENV)/.installed: setup.py requirements/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed for the pinned environment: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install '$(TORCH)+cpu' || \
		$(BIN)/python -m pip install '$(TORCH)' --index-url https://download.pytorch.org/whl/cpu
	$(BIN)/python -m pip install -c requirements/constraints.txt -e '.[ros,view,eval,models,train,vlm,cluster,grasp,test]'
	touch $@

demo: venv  ## the bundled bag through the node over real ROS 2: a table, out/demo.png, out/demo.mcap
	$(BIN)/dkt demo --out $(OUT)

test: lint  ## lint, then every test (those that need what is absent here skip and say so)
	@# One thread: the models in tests are tiny, and threads that wait by spinning are slow where cores are busy.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -rfEs

lint: venv  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

eval: venv  ## score the held-out renders (DATA=folder) and the bundled bag; writes into benchmarks/RESULTS.md
	@test -n "$$(ls $(DATA)/*.tar 2>/dev/null)" || $(MAKE) heldout
	$(BIN)/python -m benchmarks.eval $(DATA) --out $(OUT)

bench: venv  ## what the path around the model costs per frame, and the node's frame rate
	$(BIN)/python -m benchmarks.node
	$(BIN)/python -m benchmarks.rates --out $(OUT)

soak: venv  ## 10,000 frames through the node with mishaps, is its memory flat (about 20 minutes on two cores)
	$(BIN)/python -m benchmarks.soak --out $(OUT)

bench-engines: venv  ## the published models' stages, ours beside a plain diffusers pipeline, on this machine
	$(BIN)/python -m benchmarks.engines --out $(OUT)

bench-transport: venv  ## delivery of large messages between two processes, Fast DDS's default transport beside ours
	$(BIN)/python -m benchmarks.transport

grasp-trials: venv  ## grasps from each source of depth, carried out in simulation (about 30 minutes with the scenes' rendering)
	$(BIN)/python -m benchmarks.grasp_trials --out $(OUT)

render-env:  ## the generator's own environment in .venv-render: Blender as a Python module (bpy, Python 3.11)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "bpy 4.5 needs Python 3.11: make render-env PYTHON=python3.11")'
	@missing=; for pair in libXrender.so.1:libxrender1 libXfixes.so.3:libxfixes3 libXi.so.6:libxi6 \
		libxkbcommon.so.0:libxkbcommon0 libGL.so.1:libgl1 libSM.so.6:libsm6; do \
		$(PYTHON) -c "import ctypes; ctypes.CDLL('$${pair%%:*}')" 2>/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	test -z "$$missing" || { echo "Blender needs these first: sudo apt-get install --no-install-recommends$$missing"; exit 1; }
	$(PYTHON) -m venv $(RENDER_VENV)
	$(RENDER_BIN)/python -m pip install -r training/render/requirements.txt

heldout:  ## render the held-out sequences into DATA (about 20 minutes on two cores; goes on where it stopped)
	@test -x $(RENDER_BIN)/python || { echo 'no held-out renders in $(DATA) and no renderer here: make render-env, then make heldout'; exit 1; }
	$(RENDER_BIN)/python -m dkt_ros.training.render dataset $(HELDOUT) --out $(DATA)

unseen:  ## render the sequences with what training never saw into UNSEEN (make eval DATA=data/unseen)
	@test -x $(RENDER_BIN)/python || { echo 'no renderer here: make render-env, then make unseen'; exit 1; }
	$(RENDER_BIN)/python -m dkt_ros.training.render dataset $(NEVER_SEEN) --out $(UNSEEN)

clean:  ## remove results and caches; .venv, .venv-render and data stay
	rm -rf $(OUT) build install log *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
