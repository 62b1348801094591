#!/bin/bash
# "Denoisers" of doc/results.md: runs/denoisers.sh ../shared/real OUT RUNS
# OUT is that of runs/judging.sh, with the generator of the T3 and its lists; the denoisers go to RUNS. Run again to
# continue. PYTHON= chooses the interpreter.
set -euo pipefail
${PYTHON:-.venv/bin/python} -m benchmark.table2 --cam_name T3 --train_img_dir "$1/RENOIR_T3_Srgb_Parts" \
  --data_prep_dir "$2/lists" --pretrain_dir "$2" --dir_save "$3" --seeds 0 1 2 --on_scenes --classic noisy bm3d \
  --recipe "--nc 32 --nb 8 --act_mode R --init_type kaiming --patch_size 64 --batch_size 4 --steps 900
    --lr_decay 150 200 --test_epoch 1000 --num_workers 0"
