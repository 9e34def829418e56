# Needs python3 (3.11 or later) with venv, and a package index. `make help` lists the targets.
PYTHON  ?= python3
VENV    ?= .venv
# The sweep of `make report`; shorter: make report ADNS=1,2 RESULTS=/tmp/rows OUT=/tmp/report
# SWEEP takes any further option of `tso-dso sweep`, such as SWEEP='--partners complete --congestion strong'.
ADNS       ?= 1,2,3,5,8,10
SEEDS      ?= 2
GAP        ?= 0.03
TIME_LIMIT ?= 60
RESULTS    ?= results
OUT        ?= reports/latest
SWEEP      ?= --partners nearest:2,nearest:4,complete
# The sweep of `make growth`: the default method on the scaled network, every size in every seed, each phase of a
# run within 6.5 minutes. Sizes some 1.7 apart; from 12 ADNs on the default method goes another way.
GROWTH_ADNS  ?= 1,2,3,5,8,13,22,36,60,100
GROWTH_SEEDS ?= 5
GROWTH       ?= --partners nearest:4 --network scaled --gap 0.01 --time-limit 390
# The sweep of `make rivals`: every method on the same instances, to the same gap, within the same limit.
RIVALS     ?= --adns 1,5 --partners complete --gap 0.01 --time-limit 600
# The sweeps of `make scale`, from small to large. What is asked for is wall time, so the limits of solving leave
# time for building and the certificate; MB are limits at which a run is ended. Method relaxation is the unit of
# effort. SCALE_FIT: one curve to one gap, for growth beyond the study's sizes. SCALE takes further options for all
# of them. An empty SCALE_1000= leaves the last one out.
SCALE      ?= --seeds 1
SCALE_1    ?= --adns 1,5 --partners complete --gap 0.001 --time-limit 20 --method auto,relaxation --network fixed,scaled --congestion moderate,strong
SCALE_20   ?= --adns 20 --partners complete --gap 0.001 --time-limit 120 --method auto,relaxation --network fixed,scaled --congestion moderate,strong
SCALE_FIT  ?= --adns 10,30,100,300 --partners nearest:4 --gap 0.01 --time-limit 540 --memory-limit 12000
SCALE_100  ?= --adns 100 --partners nearest:4,complete --gap 0.002 --time-limit 225 --congestion moderate,strong
SCALE_UNIT ?= --adns 100 --partners nearest:4 --gap 0.002 --time-limit 300 --method relaxation
SCALE_300  ?= --adns 300 --partners nearest:4 --gap 0.003 --time-limit 540 --memory-limit 12000
SCALE_1000 ?= --adns 1000 --partners nearest:4 --gap 0.003 --time-limit 1350 --memory-limit 20000
# The sweeps of `make study`: six schemes on the same instances, 20 seeds at the default, then one factor at a time.
STUDY      ?= --adns 5 --scheme dso-led,tso-led,price-taking,centralised,uncoordinated,nash --gap 0.001 --time-limit 300
STUDY_1    ?= --seeds 20
STUDY_2    ?= --seeds 5 --pv-penetration 0.7,1.4,2.1
STUDY_3    ?= --seeds 5 --bess-power-share 0.1,0.2,0.4
STUDY_4    ?= --seeds 5 --access-per-mwh 2 --network-per-mwh 3 --local-per-mwh 1 --wheeling-per-mwh 1.5 --wheeling-distance-per-mwh 0.75
STUDY_5    ?= --seeds 5 --access-per-mwh 8 --network-per-mwh 12 --local-per-mwh 4 --wheeling-per-mwh 6 --wheeling-distance-per-mwh 3
STUDY_6    ?= --seeds 5 --settlement lmp,tariff
STUDY_7    ?= --seeds 5 --congestion none,moderate,strong
STUDY_8    ?= --seeds 5 --network fixed,scaled
PYTEST     ?= -n 2
# The least share of branches of model/ that tests must take, in percent; the files that `make mutants` changes.
BRANCHES   ?= 95
MUTATE     ?=
# How long `make soak` is, and its first seed; the tests use the seeds below 10,000.
LENGTH     ?= 1
FIRST      ?= 10000

bin := $(VENV)/bin
install := $(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
inputs := pyproject.toml constraints.txt
define newline


endef

.PHONY: help venv report growth rivals scale study test long browser coverage mutants soak bench lint clean

help:
	@echo 'make report   sweep N = $(ADNS), then the scaling report in $(OUT)/'
	@echo 'make growth   the growth study: N = $(GROWTH_ADNS), $(GROWTH_SEEDS) seeds, some 80 minutes; added to $(RESULTS)/ and reported'
	@echo 'make rivals   every method on the same instances, up to 10 minutes a run; added to $(RESULTS)/ and reported'
	@echo 'make scale    N = 1 to 1,000 to their gap targets, limits of 109 minutes in all; added to $(RESULTS)/ and reported'
	@echo 'make study    DSO-led against five other schemes, hours; added to $(RESULTS)/study/ and reported'
	@echo 'make test     the tests, but for those that draw, enumerate or replay for long; within 8 minutes'
	@echo 'make long     the others'
	@echo 'make browser  the tests of the report in a real browser; needs chromium (Debian: apt-get install chromium)'
	@echo 'make coverage all tests; fails below $(BRANCHES) % of branches of model/'
	@echo 'make soak     the long campaigns, LENGTH=1 is about an hour; figures to reports/campaigns.jsonl'
	@echo 'make mutants  mutation testing of the certified mathematics; figures to reports/campaigns.jsonl'
	@echo 'make bench    the pytest-benchmark suite, all sizes'
	@echo 'make lint     ruff and mypy'
	@echo 'make venv     the environment $(VENV) with everything'
	@echo 'make clean    remove environments, results and caches (reports/latest stays)'

# One environment in two steps: what a report needs, and what tests and checks need on top of it.
$(VENV)/.run: $(inputs)
	test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	$(install) .
	touch $@

$(VENV)/.test: $(inputs) $(VENV)/.run
	$(install) '.[test,pandapower,scip]'
	touch $@

$(VENV)/.mutants: $(VENV)/.test
	$(install) '.[mutants]'
	touch $@

$(VENV)/.browser: $(VENV)/.test
	$(install) '.[browser]'
	touch $@

venv: $(VENV)/.test

report: $(VENV)/.run
	$(bin)/tso-dso sweep --adns $(ADNS) --seeds $(SEEDS) --gap $(GAP) --time-limit $(TIME_LIMIT) $(SWEEP) -o $(RESULTS)
	$(bin)/tso-dso report $(RESULTS) -o $(OUT)

growth: $(VENV)/.run
	$(bin)/tso-dso sweep --adns $(GROWTH_ADNS) --seeds $(GROWTH_SEEDS) $(GROWTH) -o $(RESULTS)
	$(bin)/tso-dso report $(RESULTS) -o $(OUT)

rivals: $(VENV)/.test
	$(bin)/tso-dso sweep --rivals $(RIVALS) -o $(RESULTS)
	$(bin)/tso-dso report $(RESULTS) -o $(OUT)

# Each sweep resumes where it stopped, so the target does too.
scale: $(VENV)/.run
	$(foreach sizes,SCALE_1 SCALE_20 SCALE_FIT SCALE_100 SCALE_UNIT SCALE_300 SCALE_1000,$(if $($(sizes)),$(bin)/tso-dso sweep $($(sizes)) $(SCALE) -o $(RESULTS)$(newline)))
	$(bin)/tso-dso report $(RESULTS) -o $(OUT)

# Its rows stand apart from those of the growth study; the report takes both, so those of `make report` come first.
study: $(VENV)/.run
	$(bin)/tso-dso sweep --adns $(ADNS) --seeds $(SEEDS) --gap $(GAP) --time-limit $(TIME_LIMIT) $(SWEEP) -o $(RESULTS)
	$(foreach sweep,1 2 3 4 5 6 7 8,$(if $(STUDY_$(sweep)),$(bin)/tso-dso sweep $(STUDY) $(STUDY_$(sweep)) -o $(RESULTS)/study$(newline)))
	$(bin)/tso-dso report $(RESULTS) -o $(OUT)

test: $(VENV)/.test
	$(bin)/python -m pytest $(PYTEST) -m 'not long'

long: $(VENV)/.test
	$(bin)/python -m pytest $(PYTEST) -m long

browser: $(VENV)/.browser
	$(bin)/python -m pytest tests/test_browser.py

coverage: $(VENV)/.test
	mkdir -p results
	$(bin)/python -m pytest $(PYTEST) --cov --cov-report=
	# What Numba compiles is not seen, so once more without it.
	NUMBA_DISABLE_JIT=1 $(bin)/python -m pytest $(PYTEST) tests/test_interior_point.py --cov --cov-append --cov-report=term-missing:skip-covered --cov-report=json:results/coverage.json
	$(bin)/python -c 'import json; share = json.load(open("results/coverage.json"))["totals"]["percent_branches_covered"]; \
	print(f"branches of model/ taken: {share:.1f} %"); raise SystemExit(share < $(BRANCHES))'

soak: $(VENV)/.test
	$(bin)/python tests/soak.py --length $(LENGTH) --first $(FIRST)

mutants: $(VENV)/.mutants
	$(bin)/python tests/mutants.py $(MUTATE)

bench: $(VENV)/.test
	$(bin)/python -m pytest --benchmark-only

lint: $(VENV)/.test
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

clean:
	rm -rf $(VENV) .asv results build dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
