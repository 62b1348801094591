#!/bin/bash
# "All of SIDD" of doc/data.md: runs/rehearsal.sh OUT PHOTOS "SCENES ..." CAMERA ...
# A dress rehearsal without SIDD-Medium: scenes of its names and sizes, two pairs each, made of PHOTOS and the camera's
# shipped noise, are cropped, cached, trained on and judged; submission files have their true shape. One camera is on the
# disk at a time, some 0.7 GB for each scene. SCENES: numbers in rising order, as "2 4 12"; 0: all of the camera. Scenes
# beyond the first RENDERED (default: all) are links to those. STEPS= chooses steps, PYTHON= the interpreter; KEEP=1 keeps
# the data. Prints OUT/steps.csv: seconds of the clock and of all cores; GB of the largest process's memory, and of that
# without files that it maps; GB that a step adds to the disk.
set -euo pipefail
python=${PYTHON:-.venv/bin/python} out=$1 photos=$2 counts=$3 blocks=$1/BenchmarkNoisyBlocksSrgb.mat
networks="--E_nc 8 --G1_nc 8 --G2_nc 4 --D1_nc 4 --D2_nc 4 --G3_nc 4"  # small: the data is rehearsed
shift 3
mkdir -p "$out"
echo "camera,scenes,step,clock,cores,memory,private,disk" > "$out/steps.csv"

step() { # NAME COMMAND ...: run a command, its output to OUT/CAMERA/NAME.log, and write down what it took
  [[ " ${STEPS:-$1} " = *" $1 "* ]] || return 0
  $python - "$out" "$camera" "$count" "$@" <<'PYTHON'
import re, resource, subprocess, sys, time
from pathlib import Path

out, camera, count, name, *command = sys.argv[1:]
disk = lambda: int(subprocess.check_output(["du", "-sk", out]).split()[0])
before, begin, private = disk(), time.time(), 0
with open(Path(out, camera, f"{name}.log"), "w") as log:
    process = subprocess.Popen(command, stdout=log, stderr=log)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        private = max(private, *map(int, re.findall(r"RssAnon:\s*(\d+)", status)), 0)
        time.sleep(0.05)
clock, used = time.time() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
sizes = (kib * 1024 / 1e9 for kib in (used.ru_maxrss, private, disk() - before))
values = clock, used.ru_utime + used.ru_stime, *sizes
print(camera, count, name, *(f"{value:.2f}" for value in values), sep=",", file=open(Path(out, "steps.csv"), "a"))
sys.exit(process.returncode and f"{name}: failed, see {out}/{camera}/{name}.log")
PYTHON
}

make_scenes='
import os, sys
from pathlib import Path
import cv2, numpy as np, scipy.io
from data.sidd import FRAMES, parse_scene
from noise import load_noise
from utils.image import read_image, write_image

camera, count, rendered, photos, frames, blocks = sys.argv[1:]
listed = [open(f"data_preparation/{camera}_{half}.txt").read().split() for half in ("train", "test")]
placed = sorted((number / len(half), which, name) for which, half in enumerate(listed) for number, name in enumerate(half))
noise, photos, made = load_noise(camera), sorted(Path(photos).iterdir()), []
for number, (*_, name) in enumerate(placed[: int(count)]):  # of both halves evenly
    scene, folder = parse_scene(name), Path(frames, name)
    files = [folder / f"{scene.instance}_{kind}_SRGB_{frame}.PNG" for frame in ("010", "011") for kind in ("GT", "NOISY")]
    made.append(files)
    if files[-1].exists():
        continue
    folder.mkdir(parents=True, exist_ok=True)
    if number >= int(rendered):
        list(map(os.link, made[number % int(rendered)], files))
        continue
    tiles = [cv2.resize(read_image(path), None, fx=2, fy=2)[:1024, :1024] for path in photos]
    rows = [np.hstack([tiles[(number + 7 * row + column) % len(tiles)] for column in range(6)]) for row in range(4)]
    height, width = FRAMES[camera]
    clean = (np.vstack(rows)[:height, :width] * {"L": 0.4, "N": 0.7, "H": 1}[scene.brightness]).astype(np.uint8)
    for file in files:
        write_image(file, noise.synthesize(clean, scene.iso, key=file.name) if "NOISY" in file.name else clean)
image = read_image(made[0][1])[:2048, :2048].reshape(8, 256, 8, 256, 3).swapaxes(1, 2).reshape(64, 256, 256, 3)
scipy.io.savemat(blocks, {Path(blocks).stem: np.stack([np.roll(image, n, 0)[:32] for n in range(40)])})
'

fill_cache='import logging, sys; from data import cache, pairs, sidd
cache.open_pairs(pairs.find_pairs(sidd.find_scenes(sys.argv[1])), sys.argv[2], 2, logging.getLogger())'
for camera in "$@"; do
  here=$out/$camera
  mkdir -p "$here"
  for count in $counts; do
    [ "$count" = 0 ] && count=$(grep -c ",$camera," data_preparation/published_scenes.csv)
    rm -rf "$here/crops" "$here/cache" "$here/run"
    step render $python -c "$make_scenes" "$camera" "$count" "${RENDERED:-999}" "$photos" "$here/frames" "$blocks"
    for name in crop crop_again; do
      step $name $python Crop_SIDD.py --source "$here/frames" --target "$here/crops" --num_workers 2
    done
    for kind in crops frames; do
      step cache_$kind $python -c "$fill_cache" "$here/$kind" "$here/cache"
    done
    for more in "check --dry_run" "train --steps 10"; do
      step "${more%% *}" $python main_train_jointly.py --cam_name "$camera" --train_img_dir "$here/crops" \
        --dir_save "$here/run" --num_workers 2 $networks ${more#* }
    done
    step judge $python main_eval.py noise --cam_name "$camera" --data_dir "$here/crops" --max_images 4 \
      --output_dir "$here/run/report" --num_workers 2
  done
  step submit $python main_eval.py submit --benchmark kaggle --denoiser noisy --output "$here/submission.csv" \
    --blocks "$blocks"
  [ "${KEEP:-0}" = 1 ] || rm -rf "$here/crops" "$here/cache" "$here/run" "$here/frames" "$here/submission.csv"*
done
tr , '\t' < "$out/steps.csv"
