PYTHON ?= python3
BIN := .venv/bin
PACKAGES := quietmic/__init__.py quietmic/start.py quietmic/cli quietmic/integrations quietmic/panel enhance models compression devices

.PHONY: demo test test-slow mutate zoo test-agents soak test-arm fuzz check clean

demo: .venv/run-time.stamp
	$(BIN)/python app.py demo

test: check
	$(BIN)/python -m pytest

test-slow: .venv/test.stamp
	$(BIN)/python -m pytest -m slow

# Wrong lines in the core maths, and whether a test notices; writes tables into docs. PART=run-time for that part alone.
# Half an hour for each.
mutate: .venv/test.stamp
	set -e; for part in $(or $(PART),compression run-time); do $(BIN)/python tools/mutate.py $$part; done

# Networks of strangers, torchvision's among them, through compression; writes its table into docs/compression.md.
zoo: .venv/zoo.stamp
	ZOO=out/zoo $(BIN)/python -m pytest -m zoo; status=$$?; $(BIN)/python tools/write_zoo.py out/zoo; exit $$status

# An hour in real time on a sound server of its own; MINUTES=5 for less. Not part of the tests.
soak: .venv/test.stamp
	$(BIN)/python tools/soak.py $(or $(MINUTES),60)

# The frameworks hold back versions of libraries that all else is tested with: they get an environment of their own.
test-agents: .venv/agents.stamp
	.venv/agents/bin/python -m pytest tests/test_integrations.py

# An emulated Cortex-A72: apt-get install qemu-user-static. Minutes; not part of the tests.
test-arm: .venv/run-time.stamp
	PYTHON=$(CURDIR)/$(BIN)/python tools/arm/build.sh build/arm
	PYTHON=$(CURDIR)/$(BIN)/python tools/arm/compare.sh build/arm recordings/mono_keyboard_noisy.flac $(MODEL)

# Mutated headers and cuts of every container, and what becomes of them; minutes.
fuzz: .venv/test.stamp
	$(BIN)/python tools/fuzz_files.py --count 2500 --markdown docs/robustness.md

# mypy sees the packages where they are once installed: links to the folders of the checkout.
check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/typed/quietmic
	ln -sfn $(foreach package,$(PACKAGES),$(CURDIR)/$(package)) build/typed/quietmic/
	cd build/typed && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml

clean:
	rm -rf .venv build out *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

# Run time and pictures; no torch.
.venv/run-time.stamp: pyproject.toml | .venv/bin/python
	rm -rf build/lib  # what an earlier build left there would be packed as well
	$(BIN)/python -m pip install --quiet ".[plots]"
	touch $@

.venv/agents.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m venv .venv/agents
	.venv/agents/bin/python -m pip install --quiet -e ".[pipecat,livekit]" "pytest>=8.0" "onnx>=1.16"
	touch $@

.venv/zoo.stamp: .venv/test.stamp
	$(BIN)/python -m pip install --quiet -e ".[zoo]"
	touch $@

# All that the tests need, torch included; editable, so that the code under test is the one of this folder. The pinned
# torch comes first: with everything in one step pip fetches another version of it before it settles.
.venv/test.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e ".[train]"
	$(BIN)/python -m pip install --quiet -e ".[test]"
	touch $@ .venv/run-time.stamp
