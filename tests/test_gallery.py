"""The pictures of the documents: what they read, and that they show it."""

import json

import numpy as np
import pytest

from benchmark import gallery

C2ST = 'model,patch,seed,auc,steps,tested\npipeline,8,0,{auc},9,9\n"real, mirrored",8,0,.5,9,9\n'
LOG = """2026-11-30 10:00:00,000 INFO camera S6 on 1 cpu: 111 training and 12 test crops
2026-11-30 10:00:10,000 INFO test  epoch 0  step 0  score 0.4
2026-11-30 10:01:00,500 INFO train  epoch 2  step 20  reg 1
2026-11-30 12:00:00,000 INFO camera S6 on 1 cpu: 111 training and 12 test crops
2026-11-30 12:00:30,000 INFO continues after step 20
2026-11-30 12:01:00,000 INFO test  epoch 3  step 30  score 0.3
"""


@pytest.fixture
def panels(monkeypatch):
    """Collect what `_draw_dots` is given."""
    given = []
    monkeypatch.setattr(gallery, "_draw_dots", lambda title, panels, *more: given.append(panels))
    return given


def judged(folder, camera: str, auc: float, score: float) -> str:
    folder.mkdir()
    content = {"provenance": {"options": {"cam_name": camera}}, "summary": {"pipeline": {"score": {"mean": score}}}}
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "c2st.csv").write_text(C2ST.format(auc=auc))
    return str(folder)


def test_values_of_a_model_are_gathered_by_camera_over_folders(tmp_path, panels):
    one, two = (judged(tmp_path / name, "S6", auc, 0.1) for name, auc in (("a", 0.6), ("b", 0.7)))
    alone, other = judged(tmp_path / "c", "S6", 0.8, 0.2), judged(tmp_path / "d", "GP", 0.9, 0.3)
    gallery.draw_judged([one, two, f"blind={alone}", other])
    (found,) = panels
    assert found["S6: score"] == {"pipeline": [0.1, 0.1], "blind": [0.2]} and found["GP: score"] == {"pipeline": [0.3]}
    assert found["S6: c2st, 8 pixels"] == {"pipeline": [0.6, 0.7], "blind": [0.8], "real against real": [0.5] * 3}
    assert found["GP: c2st, 8 pixels"] == {"pipeline": [0.9], "real against real": [0.5]}


def test_pgap_is_that_of_each_folder_and_rows_take_their_names(tmp_path, panels):
    for name, psnr in (("a", 29), ("b", 31)):
        (tmp_path / name).mkdir()
        rows = [f"s/{i},S6,800,{row},,{value + i},.9" for i in (0, 1) for row, value in (("real", 30), ("own", psnr))]
        (tmp_path / name / "results.csv").write_text("\n".join(["image,camera,iso,denoiser,seed,psnr,ssim", *rows]))
    gallery.draw_denoisers([str(tmp_path / "a"), str(tmp_path / "b"), "own=of mine"])
    assert panels == [{"S6: PGap (dB)": {"of mine": [1, -1]}}]


def test_time_of_a_training_leaves_out_the_pause_between_two_commands(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").write_text(LOG)
    assert gallery._seconds_of(tmp_path) == {0: 10, 20: 60.5, 30: 60.5 + 60}


def test_training_shows_a_change_of_a_score(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").write_text(LOG)
    pictures = []
    for score in (0.3, 0.6):
        tests = [{"kind": "test", "step": 0, "epoch": 0, "score": 0.4}, {"kind": "train", "step": 20, "epoch": 2}]
        tests.append({"kind": "test", "step": 30, "epoch": 3, "score": score})
        (tmp_path / "logs" / "metrics.jsonl").write_text("\n".join(map(json.dumps, tests)))
        pictures.append(gallery.draw_training([f"start={tmp_path}", "fit=30,.2"]))
    assert (pictures[0] != pictures[1]).any()
    (tmp_path / "logs" / "metrics.jsonl").write_text(json.dumps(tests[1]))
    with pytest.raises(ValueError, match="no test has been recorded yet"):
        gallery.draw_training([f"start={tmp_path}"])


def test_dots_are_drawn_for_each_value():
    pictures = [gallery._draw_dots("T", {"a": {"x": values}}, 1, 0, "a", 2) for values in ([1, 2, 3], [1, 2, 4])]
    assert pictures[0].shape == pictures[1].shape and not np.array_equal(*pictures)
