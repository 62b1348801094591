#!/bin/bash
# "Noise in minutes" of doc/results.md: runs/training.sh ../shared/real OUT
# NeCA's score against time, on pairs that the S6's shipped fit makes of the clean halves of SIDD-Small's training scenes.
# Tests are on real blocks of the S6, of OUT of runs/judging.sh (blocks_S6, lists). Hours of a core; STEPS= shortens it.
# Run again to continue. The picture: runs/gallery.sh. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} small=$(realpath "$1")/SIDD_Small_256 out=$(realpath "$2") isos=(100 200 400 800 1600)
lists=$out/training/lists
mkdir -p "$lists" "$out/training/pairs"
if [ ! -e "$lists/S6_val.txt" ]; then
  number=0
  while read -r scene; do # the five ISOs in turn
    clean=$out/training/clean/${isos[number % 5]}
    mkdir -p "$clean"
    cp "$small/$scene"/*GT* "$clean/$scene.png"
    number=$((number + 1))
  done < <(ls "$small" | grep _ | grep -v -F -f <(cat data_preparation/??_test.txt))
  number=1000
  for iso in "${isos[@]}"; do
    made=$out/training/made/$iso
    $python main_synthesize.py --cam_name S6 --iso "$iso" --layout sidd --camera_code S6 \
      --input_dir "$out/training/clean/$iso" --output_dir "$made"
    for scene in "$made"/*/; do # one folder, numbered through
      number=$((number + 1))
      name=$(basename "$scene")
      mkdir -p "$out/training/pairs/$number${name:4}"
      for file in "$scene"*; do
        ln -sf "$file" "$out/training/pairs/$number${name:4}/$number$(basename "$file" | cut -c 5-)"
      done
    done
  done
  ls "$out/training/pairs" > "$lists/S6_train.txt"
  ln -sfn "$out/blocks_S6"/* "$out/training/pairs/"
  cp "$out/lists/S6_test.txt" "$lists/S6_test.txt"
  cp "$out/lists/S6_train.txt" "$lists/S6_val.txt"
fi
train() { # NAME OPTION ...
  $python main_train_jointly.py @options/recipes/quick.txt --cam_name S6 --train_img_dir "$out/training/pairs" \
    --data_prep_dir "$lists" --val_list "$lists/S6_val.txt" --val_step 500 --ema 0.998 --num_workers 0 \
    --dir_save "$out/training/$1" --steps "${STEPS:-2000}" "${@:2}"
}
train measured
train published --init_type normal
