# Every target works in .venv at the repository's root; the first one makes it.
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
OUT ?= out

.PHONY: setup quickstart real sweep test test-slow lint format bench clean

setup: $(VENV)/.complete

$(VENV)/.complete: pyproject.toml constraints.txt
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

quickstart: setup
	$(BIN)/s2m quickstart --out $(OUT)/quickstart

# Every framework, the soft ones with each regulariser
METHODS := triplet triplet_sp triplet_soft+emosim triplet_soft+ranksim triplet_sp_soft+emosim triplet_sp_soft+ranksim
# More options of `s2m train`, such as --set fit.epochs=3
TRAIN ?=

# Real speech and music: RAVDESS actors 1-19 x VGMIDI train, scored on actors 20-22 x VGMIDI valid. Early stopping
# looks at actors 17-19 and a fifth of the training pieces only, so that the valid split is untouched.
real: setup
	$(BIN)/s2m manifest ravdess $(DATA)/ravdess --out $(OUT)/real/ravdess.parquet
	$(BIN)/s2m manifest vgmidi $(DATA)/vgmidi --out $(OUT)/real/vgmidi.parquet
	$(BIN)/s2m embed $(OUT)/real/ravdess.parquet --out $(OUT)/real/stores/ravdess
	$(BIN)/s2m embed $(OUT)/real/vgmidi.parquet --out $(OUT)/real/stores/vgmidi
	for method in $(METHODS); do \
	  case $$method in *+*) regulariser="--regulariser $${method#*+}";; *) regulariser=;; esac; \
	  $(BIN)/s2m train --speech $(OUT)/real/stores/ravdess --music $(OUT)/real/stores/vgmidi \
	    --out $(OUT)/real/models/$$method --framework $${method%+*} $$regulariser \
	    --holdout-speakers 17,18,19 --holdout-music 0.2 $(TRAIN) && \
	  $(BIN)/s2m evaluate $(OUT)/real/models/$$method --speech $(OUT)/real/stores/ravdess \
	    --music $(OUT)/real/stores/vgmidi --split valid --out $(OUT)/real/evaluations/$$method || exit; \
	done
	$(BIN)/s2m evaluate --compare $(addprefix $(OUT)/real/evaluations/,$(METHODS))
	$(BIN)/s2m table $(OUT)/real/evaluations
	$(BIN)/s2m report $(OUT)/real/evaluations --out $(OUT)/real/report.html

# The sweep of the README, on the stores of `make real`; valid is looked at once, by the winner and the baseline
sweep: setup
	$(BIN)/s2m tune --speech $(OUT)/real/stores/ravdess --music $(OUT)/real/stores/vgmidi --out $(OUT)/real/sweep \
	  --emo-lambda 0,0.25,0.5,1,2 --margin 0.2,0.4,0.6 --holdout-speakers 17,18,19 --holdout-music 0.2 --test-split valid

test: setup
	$(BIN)/python -m pytest -m 'not slow'

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks.manifest.rate
	$(BIN)/python -m benchmarks.encoders.yardstick $(DATA)
	$(BIN)/python -m benchmarks.encoders.rate $(DATA)
	$(BIN)/python -m benchmarks.encoders.text_rate $(DATA)
	$(BIN)/python -m benchmarks.encoders.modes $(DATA)
	$(BIN)/python -m benchmarks.embedding.rate $(DATA)
	$(BIN)/python -m benchmarks.embedding.small_files $(DATA)
	$(BIN)/python -m benchmarks.embedding.memory $(DATA)
	$(BIN)/python -m benchmarks.embedding.scaling
	$(BIN)/python -m benchmarks.evaluation.rate
	$(BIN)/python -m benchmarks.training.rate
	$(BIN)/python -m benchmarks.training.parity_curve
	$(BIN)/python -m benchmarks.cluster.submit_overhead
	test ! -d $(OUT)/real/stores || \
	  $(BIN)/python -m benchmarks.training.tune_rate $(OUT)/real/stores/ravdess $(OUT)/real/stores/vgmidi

clean:
	rm -rf $(VENV) $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
