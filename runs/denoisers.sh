#!/bin/bash
# "Denoisers" of doc/results.md: runs/denoisers.sh ../shared/real OUT RUNS
# OUT is that of runs/judging.sh, with its lists, scene folders, fits and the generator of the T3; the denoisers go to
# RUNS. Run again to continue. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} out=$2 runs=$3
recipe="--nc 32 --nb 8 --act_mode R --init_type kaiming --patch_size 64 --batch_size 4 --steps 900
  --lr_decay 150 200 --test_epoch 1000 --num_workers 0"
$python -m benchmark.table2 --cam_name T3 --train_img_dir "$1/RENOIR_T3_Srgb_Parts" \
  --data_prep_dir "$out/lists" --pretrain_dir "$out" --dir_save "$runs" --seeds 0 1 2 --on_scenes --classic noisy bm3d \
  --recipe "$recipe"

# S6, GP: real noise, a pipeline of pairs, one of noisy images alone, and the strongest Gaussian.
for camera in S6 GP; do
  data=(--cam_name "$camera" --data_prep_dir "$out/lists")
  for seed in 0 1 2; do
    named=(noisy)
    while read -r row source fits; do
      # shellcheck disable=SC2086
      $python main_train_denoiser.py "${data[@]}" --train_img_dir "$out/blocks_$camera" --pretrain_dir "$out/$fits" \
        --source "$source" --seed "$seed" --dir_save "$runs/$row.$seed" $recipe
      folder=("$runs/$row.$seed"/*_"$camera")
      named+=("$row=${folder[0]}")
    done <<ROWS
real real fit0
pairs pipeline fit0
noisy-only pipeline blind/noisy_$camera
coloured coloured-x-channel-std fit0
ROWS
    $python main_eval.py denoise "${data[@]}" --data_dir "$out/blocks_$camera" \
      --output_dir "$runs/eval_$camera.$seed" --denoisers "${named[@]}"
  done
done
