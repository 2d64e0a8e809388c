# Every target makes .venv when it is missing. PYTHON picks the interpreter that makes it; SAMPLE gives `demo` a recording.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench cpp wheel docs clean
.DELETE_ON_ERROR:

demo: .venv/ready
	$(BIN)/infdet-deploy demo --out demo $(if $(SAMPLE),--sample "$(SAMPLE)")

test: .venv/ready
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/infdet-deploy bench --preset infdet --frames 100 --runs 10 --backend all

# The C++ library, its programs and its native tests; `make test` also drives it from Python.
cpp: .venv/ready
	cmake -S cpp -B build/cpp -DINFDET_TESTS=ON -DINFDET_WERROR=ON \
		-DOpenVINO_DIR="$$($(BIN)/python -c 'from openvino.utils import get_cmake_path; print(get_cmake_path())')"
	cmake --build build/cpp --parallel
	ctest --test-dir build/cpp --output-on-failure

# The sdist and the wheel in dist/; the wheel is then installed into an empty environment, without torch, and runs there.
wheel: .venv/ready
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python .ci/check_wheel.py dist/*.whl

# The documentation site in build/site; warnings and dead links are errors.
docs: .venv/docs
	$(BIN)/mkdocs build --strict --site-dir build/site

# torch goes in first and by its exact release; everything after it then finds it in place.
.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing PyTorch, then the other packages; together 1 to 3 minutes"
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	@echo "installing the other packages"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/docs: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv demo build dist
