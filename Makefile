# make demo   install what is needed, fit the demo camera's noise, train NeCA on it and compare both
# make test   install what is needed and run the tests
# make test-lowest  the same with the lowest versions that requirements.txt admits, in an environment of its own; Python
#             3.10 to 3.12, for which NumPy 1.26 has wheels
# make table2 train denoisers on every kind of noise and score them; TABLE2= gives it options, such as --dry_run
# make lint   check style with ruff, types with mypy and spelling with codespell
# PYTHON= chooses the interpreter, VENV= the virtual environment (made when it is not there).

PYTHON ?= python3
VENV ?= .venv
LOWEST_VENV ?= .venv-lowest
RUN = $(VENV)/bin/python
# The tour has folders of its own: half the scenes of main_make_demo.py's default set, and lists beside the run.
DEMO_DATA = ./Datasets/Tour_Srgb_Parts/
DEMO_CROPS = ./Datasets/Tour_Crop/
DEMO_SAVES = ./saves/demo/
DEMO_LISTS = ./saves/demo/lists/
# A crop of a test scene, for the quick test: that of test/imgs/ is another camera's.
DEMO_SHOT = $(DEMO_CROPS)0005_002_DC_00800_00800_3200_N/
DEMO_PAIR = ./saves/demo/pair/
DEMO_STEPS ?= 500

.PHONY: demo table2 test test-lowest lint format

$(VENV)/.runtime: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -r requirements.txt
	touch $@

$(VENV)/.development: requirements-dev.txt requirements.txt $(VENV)/.runtime
	$(RUN) -m pip install -r requirements-dev.txt
	touch $@

demo: $(VENV)/.runtime
	$(RUN) main_make_demo.py --output_dir $(DEMO_DATA) --data_prep_dir $(DEMO_LISTS) --num_scenes 12
	$(RUN) Crop_SIDD.py --source $(DEMO_DATA) --target $(DEMO_CROPS) --num_workers 2
	$(RUN) main_fit_noise.py --cam_name DC --train_img_dir $(DEMO_CROPS) --data_prep_dir $(DEMO_LISTS) \
	  --output_dir $(DEMO_SAVES)
	$(RUN) main_train_jointly.py @options/recipes/quick.txt --cam_name DC --train_img_dir $(DEMO_CROPS) \
	  --data_prep_dir $(DEMO_LISTS) --dir_save $(DEMO_SAVES) --steps $(DEMO_STEPS)
	mkdir -p $(DEMO_PAIR)
	cp $(DEMO_SHOT)clean/0005_GT_SRGB_010_00001.png $(DEMO_PAIR)clean.png
	cp $(DEMO_SHOT)noisy/0005_NOISY_SRGB_010_00001.png $(DEMO_PAIR)noisy.png
	$(RUN) main_test.py --cam_name DC --NeCA_type W --pretrain_dir $(DEMO_SAVES) --dir_test_img $(DEMO_PAIR) \
	  --dir_test_save ./test/saves/demo_W/
	$(RUN) main_eval.py noise --cam_name DC --data_dir $(DEMO_CROPS) --data_prep_dir $(DEMO_LISTS) \
	  --pretrain_dir $(DEMO_SAVES) --models pipeline NeCA-W "coloured x channel std" "coloured by phase x channel std" \
	  AWGN-image real --max_images 12 --output_dir $(DEMO_SAVES)evaluation/ --html
	@echo "Open $(DEMO_SAVES)evaluation/report.html"

table2: $(VENV)/.runtime
	$(RUN) -m benchmark.table2 $(TABLE2)

test: $(VENV)/.development
	$(RUN) -m pytest -n 2 --dist worksteal --cov --cov-report=term --cov-fail-under=90

# Without bm3d, which the tests can do without.
$(LOWEST_VENV)/.development: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(LOWEST_VENV)
	cat requirements.txt requirements-dev.txt | grep -v '^-r\|ruff\|mypy\|codespell' | sed 's/>=/==/' > $(LOWEST_VENV)/lowest.txt
	$(LOWEST_VENV)/bin/python -m pip install -r $(LOWEST_VENV)/lowest.txt
	touch $@

test-lowest: $(LOWEST_VENV)/.development
	$(LOWEST_VENV)/bin/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.development
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m codespell_lib

format: $(VENV)/.development
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .
