#!/bin/bash
# "Noise in minutes" of doc/results.md: runs/ablation.sh CAMERA DATA LISTS OUT [SEED ...]
# What each part of the quick recipe is worth.
# Trains every row with each seed (0 1 2 by default), tests it on all test crops, with c2st for the first seed only, and
# prints a table of medians. Seconds include the tests. Run again to continue. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} camera=$1 data=$2 lists=$3 out=$4
shift 4
[ $# -gt 0 ] && seeds=("$@") || seeds=(0 1 2)

quick=options/recipes/quick.txt
rows=(
  "published losses: @$quick --init_type normal --ema 0"
  "measured start, untrained: @$quick --steps 0 --ema 0"
  "measured start, published losses: @$quick --ema 0"
  "and a moving average (quick): @$quick"
)
mkdir -p "$out"
for seed in "${seeds[@]}"; do
  for row in "${rows[@]}"; do
    folder="$out/$camera/${row%%:*}/$seed"
    [ -e "$folder/evaluation/results.json" ] && continue
    begin=$SECONDS
    # shellcheck disable=SC2086
    $python main_train_jointly.py ${row#*: } --cam_name "$camera" --train_img_dir "$data" --data_prep_dir "$lists" \
      --dir_save "$folder" --cache_dir "$out/cache" --seed "$seed"
    echo $((SECONDS - begin)) > "$folder/seconds.txt"
    judged=()
    [ "$seed" = "${seeds[0]}" ] && judged=(--c2st)
    $python main_eval.py noise --cam_name "$camera" --data_dir "$data" --data_prep_dir "$lists" --models NeCA-W \
      --pretrain_dir "$folder" --output_dir "$folder/evaluation" "${judged[@]}"
  done
done

$python - "$out/$camera" "${rows[@]%%:*}" <<'EOF'
import json
import sys
from pathlib import Path

import pandas as pd

found = []
for row in sys.argv[2:]:
    for folder in (Path(sys.argv[1]) / row).iterdir():
        means = json.loads((folder / "evaluation/results.json").read_text())["summary"]["NeCA-W"]
        names = ("score", "kld_exact", "acf", "xcorr", "nlf", "phase")
        figures = {name: means[name]["mean"] for name in names} | {"s": int((folder / "seconds.txt").read_text())}
        if (judged := folder / "evaluation/c2st.csv").exists():
            tests = pd.read_csv(judged).query("model == 'NeCA-W'").groupby("patch")["auc"].median()
            figures |= {f"c2st {side}": auc for side, auc in tests.items()}
        found.append({"row": row} | figures)
table = pd.DataFrame(found).groupby("row", sort=False)
spread = (table["score"].max() - table["score"].min()).rename("range")
print(table.median().join(spread).round(3).to_string())
EOF
