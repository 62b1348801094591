#!/bin/bash
# "Scenes that no fit has seen" of doc/results.md: runs/held_out.sh ../shared/real OUT
# Fits five phones as runs/phones.sh does, but to two thirds of the reduced frames, and prints the std of the others'
# noise by their ISO alone. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} root=$1 out=$2
mkdir -p "$out/lists"
for phone in S6 GP G4 N6 IP; do
  ls "$root/SIDD_Srgb_Parts" | grep "_${phone}_" > "$out/lists/${phone}_train.txt"
  ls "$root/SIDD_Small_256" | grep "_${phone}_" | grep -v -F -f "$out/lists/${phone}_train.txt" \
    | awk 'NR % 3 == 0' > "$out/lists/${phone}_test.txt"
  $python main_fit_noise.py --cam_name $phone --train_img_dir "$root/SIDD_Srgb_Parts" --data_prep_dir "$out/lists" \
    --reduced_dir "$root/SIDD_Small_256" --output_dir "$out" --test_images 0
done
