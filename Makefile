# make demo | test | test-browser | test-browser-all | mutants | students | lessons | lab | book | clean: each makes .venv on first use and installs again only when pyproject.toml changed
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
BOOK := build/book_tools
export JUPYTER_PLATFORM_DIRS := 1
# weights and videos that are not part of the project, where they lie beside it: tests with a real image model are skipped
# without the weights; no test needs the videos, which the studies of real videos read
export TASKADAPTER_WEIGHTS ?= $(abspath $(wildcard ../shared/weights))
export TASKADAPTER_REAL ?= $(abspath $(wildcard ../shared/real))

.PHONY: demo test test-browser test-browser-all mutants students lessons lab book clean

demo: $(STAMP)
	$(BIN)/python -m taskadapter_lite demo

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -rs --cov=taskadapter_lite  # says what was skipped, and why
	$(BIN)/python -m pytest -q --nbval-lax --nbval-current-env --nbval-cell-timeout=120 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg notebooks/ --ignore=notebooks/assignments/release --ignore=notebooks/student

# test-browser drives the lessons with widgets, test-browser-all every lesson
test-browser test-browser-all: $(STAMP)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[browser]'
	command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -y -q chromium; } || true
	$(BIN)/python -m pytest -q -rs -m $(if $(filter %-all,$@),browser,"browser and not slow") tests/browser

# runs/students.zip: the last commit without solutions, hidden tests, typical mistakes and the teachers' guide
students:
	mkdir -p runs
	git archive --format=zip --prefix=taskadapter_lite/ -o runs/students.zip HEAD -- . ':(exclude)notebooks/assignments/source' \
		':(exclude)notebooks/assignments/TEACHERS.md' ':(exclude)notebooks/assignments/nbgrader_config.py' \
		':(exclude)tests/wrong_answers' ':(exclude)tests/test_assignments.py'

# breaks the method's modules one by one and names the breaks that no test notices; half an hour and more
mutants: $(STAMP)
	$(BIN)/python tests/mutants/run.py

# a student's copies of the lessons; copies that are there already stay as they are
lessons: $(STAMP)
	$(BIN)/python -m taskadapter_lite lessons notebooks/student

lab: lessons
	$(BIN)/jupyter lab --ip=127.0.0.1 notebooks/student/00_start_here.ipynb

# a site to be read in a browser: build/book; its tools need neither PyTorch nor the library
book:
	test -x $(BOOK)/bin/python || $(PYTHON) -m venv $(BOOK)
	$(BOOK)/bin/pip install -q --disable-pip-version-check 'mkdocs-material>=9.5' 'mkdocstrings[python]>=1.0' 'latex2mathml>=3.77'
	NO_MKDOCS_2_WARNING=1 $(BOOK)/bin/mkdocs build -q
	@echo "to read it: $(PYTHON) -m http.server --directory build/book, then http://localhost:8000"

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[lab,test]'
	$(BIN)/jupyter labextension disable "@jupyterlab/apputils-extension:announcements"  # asks about news over every page
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .coverage .ruff_cache .mypy_cache
