#!/bin/bash
# "Pictures" of doc/reproduction.md: runs/gallery.sh ../shared/real OUT RUNS PAGES [INPUT ...]
# Draws the pictures of README and doc/ into PAGES (doc/). OUT is that of runs/judging.sh, for S6 and GP; RUNS that of
# runs/denoisers.sh. INPUT: for training.png, "NAME=FOLDER" of a run of main_train_jointly.py and "NAME=SECONDS,SCORE" of
# a fit. A picture whose input is not there stays as it is, and is named. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} scene=$1/SIDD_Srgb_Parts/0081_004_S6_00800_00160_4400_L out=$2 runs=$3 pages=$4
shift 4
photographs=$($python -c 'import pathlib, skimage; print(pathlib.Path(skimage.__file__).parent / "data")')

draw() { # NEEDED PICTURE FILE INPUT ...
  if [ -e "$1" ]; then
    $python -W ignore -m benchmark.gallery "$2" "$pages/$3" "${@:4}"
  else
    echo "not drawn: $3, for $1 is not there"
  fi
}

draw "$scene" noise noise.jpg "$scene/0081_GT_SRGB_010.PNG" "$scene/0081_NOISY_SRGB_010.PNG" 800 56 20
draw "$photographs" phones phones.jpg "$photographs/coffee.png" 100 150
draw pretrain levels levels.png G4 GP IP N6 S6

alone="pipeline, noisy images alone"
draw "$out/S6" judged judged.png \
  "$out"/fit?/report_S6 "$alone=$out/blind/noisy_S6/report" "$out/S6" \
  "$out"/fit?/report_GP "$alone=$out/blind/noisy_GP/report" "$out/GP"
draw "$out/S6/phases.png" same judging_phase.png "$out/S6/phases.png"
draw "$out/S6/c2st.png" same judging_c2st.png "$out/S6/c2st.png"

draw "$runs" denoisers denoisers.png "$runs"/eval_S6.? "$runs"/eval_GP.? \
  "pairs=pipeline, fitted to pairs" "noisy-only=$alone" "coloured=coloured x channel std"
[ $# -eq 0 ] || draw pretrain training training.png "$@"
