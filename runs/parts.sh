#!/bin/bash
# "What each part is worth" of doc/results.md: runs/parts.sh OUT CAMERA ...
# Fits the pipeline of S6 and GP without one part each and judges it. OUT is that of runs/judging.sh, with its lists and
# scene folders. About six minutes a row. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} out=$1
shift
for camera in "$@"; do
  data=(--cam_name "$camera" --data_prep_dir "$out/lists")
  $python -m benchmark.parts "${data[@]}" --train_img_dir "$out/blocks_$camera" --output_dir "$out/parts"
  for part in level shape curve matrix demosaicking clipping none; do
    $python main_eval.py noise --c2st "${data[@]}" --data_dir "$out/blocks_$camera" --models pipeline \
      --pretrain_dir "$out/parts/$part" --output_dir "$out/parts/$part/report_$camera"
  done
done
