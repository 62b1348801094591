#!/bin/bash
# "Simulated cameras that no fit has seen" of doc/results.md: runs/unseen.sh PHOTOS OUT [CAMERA ...]
# Makes pairs of simulated cameras out of clean photographs, fits each camera and prints its score beside the floor, of a
# second noisy image. About two minutes a camera. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} photos=$1 out=$2
shift 2
$python -m benchmark.unseen "$@" --photo_dir "$photos" --output_dir "$out"
[ $# -gt 0 ] || set -- a b c d e f g h i j
for camera in "$@"; do
  data=(--cam_name XY --data_prep_dir "$out/$camera/lists")
  $python main_fit_noise.py "${data[@]}" --train_img_dir "$out/$camera/scenes" --output_dir "$out/$camera" --test_images 0
  $python main_eval.py noise "${data[@]}" --data_dir "$out/$camera/scenes" --pretrain_dir "$out/$camera" \
    --models pipeline --fake_dir "floor=$out/$camera/again" --output_dir "$out/$camera/report"
done
