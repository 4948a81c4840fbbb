# make demo    replay a synthetic world (and film ratings, where they are) and say where the page is
# make demo-kafka    a broker, a feed, and the service on it, killed half way
# make test    everything that continuous integration runs; WORKERS=4 on a larger machine
# make bench   we and our peers, measured here: the README's results, in under an hour; bench-quick: in five minutes
# make known-answers    does the agent find the best size plan where it is known (a quarter of an hour)
# make soak MINUTES=10 SEED=7    the service asked, flooded, dripped on, killed and out of disk
# make kill-matrix N=300 SEED=7    the service killed N times; nothing lost, nothing doubled

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
FILMS := $(wildcard ../shared/data/movietweetings_142k.csv.gz)
N ?= 300
SEED ?= 7
MINUTES ?= 10
WORKERS ?= 2
SOURCES := stream agents simulators tests

.PHONY: demo demo-kafka test lint types bench bench-quick known-answers soak kill-matrix clean

demo: .venv/installed
	@echo "A synthetic world whose popular items and best sizes move (the first run compiles for half a minute):"
	@$(BIN)/scall replay synthetic:drift --budget 1MiB --policy powerlaw --window 20000events --eval-sample 0.1 \
		--out out/demo-drift
ifneq ($(FILMS),)
	@echo "142,000 film ratings from tweets:"
	@$(BIN)/scall replay $(FILMS) --budget 2MiB --policy powerlaw --window 1d --exclude-seen --eval-sample 0.2 \
		--out out/demo-films
endif

demo-kafka: .venv/installed-tests
	$(BIN)/python -m tests.demo_kafka

test: .venv/installed-tests lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: .venv/installed-tests
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: .venv/installed-tests
	$(BIN)/mypy

bench: .venv/installed-bench
	$(BIN)/python -m tests.benchmarks --minutes 60

bench-quick: .venv/installed-bench
	$(BIN)/python -m tests.benchmarks --quick --minutes 5

known-answers: .venv/installed-tests
	$(BIN)/python -m tests.known_answers

soak: .venv/installed-tests
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

kill-matrix: .venv/installed-tests
	$(BIN)/python -m tests.kill_matrix --kills $(N) --seed $(SEED) $(OPTIONS)

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/installed-tests: .venv/installed
	$(PIP) --editable '.[test]'
	touch $@

.venv/installed-bench: .venv/installed-tests
	$(PIP) --editable '.[test,bench]' || echo "Some peers cannot be installed here; their rows will say so."
	touch $@

clean:
	rm -rf .venv out .mypy_cache .ruff_cache .hypothesis
	find stream agents simulators tests -name __pycache__ -prune -exec rm -rf {} +
