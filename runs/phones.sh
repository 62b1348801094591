#!/bin/bash
# "Fits" of pretrain/README.md: runs/phones.sh ../shared/real DEMO OUT
# Native crops and reduced frames of five phones (../shared/real: SIDD_Srgb_Parts, SIDD_Small_256), scenes of the demo
# camera (DEMO and DEMO/lists: main_make_demo.py --output_dir DEMO --data_prep_dir DEMO/lists). The published test scenes
# are held out, but for the iPhone, whose only native crops are test scenes: 0090 is fitted to, the others test. A fit
# takes 20 to 65 seconds on two cores. PYTHON= chooses the interpreter.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} root=$1 demo=$2 out=$3
mkdir -p "$out/lists"
ls "$root/SIDD_Srgb_Parts" | grep '^0090.*_IP_' > "$out/lists/IP_train.txt"
grep -v '^0090' data_preparation/IP_test.txt > "$out/lists/IP_test.txt"
for phone in S6 GP N6 G4 IP; do
  lists=data_preparation
  [ $phone = IP ] && lists=$out/lists
  $python main_fit_noise.py --cam_name $phone --train_img_dir "$root/SIDD_Srgb_Parts" --data_prep_dir "$lists" \
    --reduced_dir "$root/SIDD_Small_256" --output_dir "$out"
  # real_noise.json beside the fit, and a page of the phone
  $python main_export.py page --cam_name $phone --pretrain_dir "$out" --real_dir "$root/SIDD_Srgb_Parts" \
    --data_prep_dir "$lists" --output "$out/$phone/page.html"
done
$python main_fit_noise.py --cam_name DC --train_img_dir "$demo" --data_prep_dir "$demo/lists" --output_dir "$out"
