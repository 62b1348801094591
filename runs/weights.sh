#!/bin/bash
# "Weights of NeCA" of pretrain/README.md: runs/weights.sh ../shared/real DEMO OUT
# NeCA of five phones by quick.txt, on pairs that their shipped fits make of the clean halves of SIDD-Small's scenes that
# test no phone and of the demo camera (../shared/real: SIDD_Small_256, SIDD_Srgb_Parts). Every eighth pair validates,
# native real crops test.
# The demo camera's NeCA on its own pairs (DEMO and DEMO/lists: main_make_demo.py --output_dir DEMO --data_prep_dir
# DEMO/lists). About a quarter of an hour of a core for each camera. Run again to continue. PHONES= chooses some,
# PYTHON= the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} real=$(realpath "$1") demo=$(realpath "$2")
mkdir -p "$3/clean"
out=$(realpath "$3")
train() { # CAMERA DATA LISTS
  $python main_train_jointly.py @options/recipes/quick.txt --cam_name "$1" --train_img_dir "$2" --data_prep_dir "$3" \
    --val_list "$3/$1_val.txt" --ema 0.998 --steps 2000 --num_workers 0 --dir_save "$out/saves"
  $python main_export.py --cam_name "$1" --pretrain_dir "$out/saves" --output_dir "$out/pretrain" --half \
    --format safetensors
  cp "pretrain/$1/noise.json" "$out/pretrain/$1/"
  $python main_eval.py noise --cam_name "$1" --data_dir "$2" --data_prep_dir "$3" --pretrain_dir "$out/pretrain" \
    --models NeCA-W pipeline AWGN-image --output_dir "$out/judged/$1"
}
ls "$real/SIDD_Small_256" | grep _ | grep -v -F -f <(cat data_preparation/??_test.txt) | while read -r scene; do
  cp -n "$real/SIDD_Small_256/$scene"/*GT* "$out/clean/$scene.png"
done
for scene in "$demo"/*_DC_*; do
  cp -n "$scene"/*GT_SRGB_010.PNG "$out/clean/"
done
for phone in ${PHONES-S6 GP G4 N6 IP}; do
  data=$out/data/$phone
  mkdir -p "$out/lists" "$data"
  $python main_synthesize.py --cam_name $phone --layout sidd --input_dir "$out/clean" --output_dir "$out/pairs/$phone"
  ls "$out/pairs/$phone" | grep "_${phone}_" | awk 'NR % 8' > "$out/lists/${phone}_train.txt"
  ls "$out/pairs/$phone" | grep "_${phone}_" | awk 'NR % 8 == 0' > "$out/lists/${phone}_val.txt"
  ls "$real/SIDD_Srgb_Parts" | grep "_${phone}_" > "$out/lists/${phone}_test.txt"
  ln -sfn "$out/pairs/$phone"/*_${phone}_* "$real/SIDD_Srgb_Parts"/*_${phone}_* "$data/"
  train $phone "$data" "$out/lists"
done
mkdir -p "$out/lists/demo"
cp "$demo/lists/DC_test.txt" "$out/lists/demo/"
awk 'NR > 3' "$demo/lists/DC_train.txt" > "$out/lists/demo/DC_train.txt"
head -3 "$demo/lists/DC_train.txt" > "$out/lists/demo/DC_val.txt"
train DC "$demo" "$out/lists/demo"
