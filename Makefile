# Needs only Python (3.11 or newer) and make. Everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCHEMA := deploy/schema/exhook-v1.schema.json
FUZZ_SECONDS ?= 600
STAMP := $(VENV)/.installed
# The programs that tests start, hundreds of times, would compile the project's modules anew each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run demo test fuzz check format generate bench bench-hot-path bench-report rig soak clean
.DEFAULT_GOAL := run

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[broker]' --group dev
	touch $@

run: $(STAMP)  ## the main job: server, store, sample policy, a broker on 127.0.0.1:1883, and clients that try it
	$(BIN)/exhook demo --stay --folder .run

demo: $(STAMP)  ## scripted MQTT clients against all of it, on free ports
	$(BIN)/exhook demo

test: $(STAMP)  ## the whole suite
	$(BIN)/python -m pytest -m 'not soak' --numprocesses auto

fuzz: $(STAMP)  ## the suite with other random examples, then libFuzzer on the frames of carrier h2
	$(BIN)/python -m pytest -m 'not soak' --numprocesses auto --hypothesis-profile default
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group fuzz
	$(BIN)/python tests/soak/fuzz_frames.py .fuzz -max_total_time=$(FUZZ_SECONDS)

check: $(STAMP)  ## ruff, mypy, generated code up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m protos.generate --check
	$(BIN)/exhook-sync schema | diff -u $(SCHEMA) - || { echo "$(SCHEMA) is out of date: make generate"; exit 1; }

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(STAMP)  ## protos/*_pb2.py from protos/*.proto, and the JSON Schema of policy files
	$(BIN)/python -m protos.generate
	$(BIN)/exhook-sync schema --quiet --output $(SCHEMA)

bench: $(STAMP)  ## prints all tables, and what is left out for want of a package; takes half an hour
	$(BIN)/python bench/report.py
	$(BIN)/python bench/decisions.py
	$(BIN)/python bench/sync.py
	$(BIN)/python bench/api.py
	$(BIN)/python bench/revocation.py
	$(BIN)/python bench/mosquitto.py

bench-hot-path: $(STAMP)  ## what a call costs, by carrier; takes some minutes
	$(BIN)/python bench/hot_path.py

bench-report: $(STAMP)  ## the tables and plots of docs/performance.md, measured here and written; a quarter of an hour
	$(BIN)/python bench/report.py --write

rig: $(STAMP)  ## the rig of deploy/compose with Mosquitto, on a Docker engine started for it; root, minutes
	EXHOOK_TEST_RIG=1 $(BIN)/python -m pytest tests/deploy/test_rig_up.py -n 0

soak: $(STAMP)  ## what only real time shows; more than an hour
	$(BIN)/python -m pytest -m soak --timeout 1200
	$(BIN)/python bench/soak.py --minutes 60 --jsonl soak.jsonl

clean:
	rm -rf $(VENV) .run .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz
