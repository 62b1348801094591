#!/bin/bash
# "Noise in minutes" of doc/results.md: runs/training.sh ../shared/real OUT
# NeCA's score against time, on pairs that the S6's shipped fit makes of the clean halves of SIDD-Small's training scenes.
# Tests are on real blocks of the S6, of OUT of runs/judging.sh (blocks_S6, lists). Hours of a core; STEPS= shortens it.
# Run again to continue. The picture: runs/gallery.sh. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} small=$(realpath "$1")/SIDD_Small_256 out=$(realpath "$2")
lists=$out/training/lists
mkdir -p "$lists" "$out/training/clean" "$out/training/data"
ls "$small" | grep _ | grep -v -F -f <(cat data_preparation/??_test.txt) | while read -r scene; do
  cp -n "$small/$scene"/*GT* "$out/training/clean/$scene.png"
done
$python main_synthesize.py --cam_name S6 --layout sidd --input_dir "$out/training/clean" --output_dir "$out/training/pairs"
ls "$out/training/pairs" | grep _S6_ > "$lists/S6_train.txt"
cp "$out/lists/S6_test.txt" "$lists/S6_test.txt"
cp "$out/lists/S6_train.txt" "$lists/S6_val.txt"
ln -sfn "$out/training/pairs"/*_S6_* "$out/blocks_S6"/* "$out/training/data/"
train() { # NAME OPTION ...
  $python main_train_jointly.py @options/recipes/quick.txt --cam_name S6 --train_img_dir "$out/training/data" \
    --data_prep_dir "$lists" --val_list "$lists/S6_val.txt" --val_step 500 --ema 0.998 --num_workers 0 \
    --dir_save "$out/training/$1" --steps "${STEPS:-2000}" "${@:2}"
}
train measured
train published --init_type normal
