#!/bin/bash
# "Told by a classifier" of doc/results.md: runs/judging.sh ../shared/real OUT [CAMERA ...]
# Cameras: T3, S6, GP and the demo camera DC (default: all). Writes lists and scene folders into OUT, trains a generator
# of each camera by quick.txt (DC: what ships) and reports in OUT/CAMERA/report.md. Further fits of S6 and GP, two to
# pairs and five to noisy blocks alone, have reports beside them. DC needs Datasets/Demo_Crop, by main_make_demo.py and
# Crop_SIDD.py. Run again to continue. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} root=$(realpath "$1") out=$2
shift 2
[ $# -gt 0 ] && cameras=("$@") || cameras=(T3 S6 GP DC)
lists=$out/lists
mkdir -p "$lists"

# T3: every third scene tests.
ls "$root/RENOIR_T3_Srgb_Parts" | awk -v test="$lists/T3_test.txt" -v train="$lists/T3_train.txt" \
  '{ print > ((NR - 1) % 3 ? train : test) }'

# S6, GP: links to the blocks of a validation scene as six scenes of four; every other one trains.
make_scenes() { # CAMERA SCENE
  local source=$root/SIDD_Srgb_Parts/$2 folder=$out/blocks_$1 number=0 count name
  count=$(ls "$source" | wc -l)
  for file in $(ls "$source" | awk '{ print substr($0, length - 6), $0 }' | sort -s -k 1,1 | cut -d ' ' -f 2); do
    name=$(printf '%04d' $((number * 6 / count + 1)))${2:4}
    mkdir -p "$folder/$name"
    ln -sfn "$source/$file" "$folder/$name/$file"
    number=$((number + 1))
  done
  ls "$folder" | awk -v test="$lists/$1_test.txt" -v train="$lists/$1_train.txt" '{ print > (NR % 2 ? train : test) }'
}
make_scenes S6 0009_001_S6_00800_00350_3200_L
make_scenes GP 0021_001_GP_10000_05000_5500_N

judge() { # CAMERA FITS OUTPUT MODEL...
  $python main_eval.py noise --c2st --cam_name "$1" --data_dir "$data" --data_prep_dir "$listed" \
    --pretrain_dir "$2" --output_dir "$3" --models "${@:4}"
}

for camera in "${cameras[@]}"; do
  data=$out/blocks_$camera listed=$lists weights=$out others=()
  [ "$camera" = T3 ] && data=$root/RENOIR_T3_Srgb_Parts
  if [ "$camera" = DC ]; then
    data=Datasets/Demo_Crop listed=data_preparation weights=pretrain others=(pipeline real)
  else
    $python main_train_jointly.py @options/recipes/quick.txt --cam_name "$camera" --train_img_dir "$data" \
      --data_prep_dir "$listed" --dir_save "$out"
  fi
  if [ "$camera" = S6 ] || [ "$camera" = GP ]; then
    # Three fits to pairs; one to the twelve noisy blocks alone; one to each of the first four.
    for seed in 0 1 2; do
      $python main_fit_noise.py --cam_name "$camera" --train_img_dir "$data" --data_prep_dir "$listed" \
        --output_dir "$out/fit$seed" --test_images 0 --seed "$seed"
      [ $seed = 0 ] || judge "$camera" "$out/fit$seed" "$out/fit$seed/report_$camera" pipeline
    done
    cp "$out/fit0/$camera/noise.json" "$out/$camera/" # the first one is judged beside the other models
    others=(pipeline)
    mkdir -p "$out/noisy_$camera"
    while read -r scene; do
      cp -r "$data/$scene" "$out/noisy_$camera/"
    done < "$lists/${camera}_train.txt"
    first=("$out/noisy_$camera"/*/*NOISY*)
    for blind in "$out/noisy_$camera" "${first[@]:0:4}"; do
      fits=$out/blind/$(basename "$blind" .PNG)
      $python main_fit_noise.py --noisy_only "$blind" --cam_name "$camera" --output_dir "$fits"
      judge "$camera" "$fits" "$fits/report" pipeline
    done
  fi
  judge "$camera" "$weights" "$out/$camera" NeCA-W "copula x channel std" "coloured x std" "coloured by phase x std" \
    "heteroscedastic x std" "coloured x channel std" "coloured by phase x channel std" AWGN-image "${others[@]}"
done
