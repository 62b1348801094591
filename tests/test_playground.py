"""The page that puts a camera's noise on pictures: as a file, its JavaScript in Node, and all of it in a browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

import main_export
from metrics import autocorrelation, noise_level_function, noise_level_sums, noise_of
from noise.copula import LEVELS, SCORES, CopulaFit
from noise.pipeline import Pipeline
from synthesis.playground import PHOTOGRAPH, read_camera
from tests.browser import NAMES, VARIABLE, find_browser, open_browser
from tests.camera import CAMERA, make_camera
from tests.conftest import ROOT, SHARED
from tests.refusal import one_line, refused
from utils.image import read_image, write_image

PAGE = ROOT / "doc" / "playground.html"
FIT = ROOT / "pretrain" / "S6" / "noise.json"
NODE = shutil.which("node") or shutil.which("nodejs")
BROWSER = find_browser()
ISO = 100  # at which noise is so weak that the mean of a small picture is known to .1 grey levels


def write_page(tmp_path, *words: str) -> str:
    main_export.main(["page", "--output", str(tmp_path / "page.html"), *words])
    return (tmp_path / "page.html").read_text(encoding="utf-8")


# The file.


def test_the_shipped_page_is_what_the_command_makes_today(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shipped = PAGE.read_text(encoding="utf-8")
    assert write_page(tmp_path) == shipped, "python main_export.py page --output doc/playground.html"
    assert len(shipped.encode()) <= 1.5e6
    for phone in ("Galaxy S6 (S6)", "Google Pixel (GP)", "LG G4 (G4)", "Nexus 6 (N6)", "iPhone 7 (IP)", "CC0"):
        assert phone in shipped
    assert "Copyright (c) 2019 Abdelrahman Abdelhamed" in shipped  # as SIDD's licence demands


def test_the_page_allows_itself_its_own_script_and_style_and_no_request():
    text = PAGE.read_text(encoding="utf-8")
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert rules.pop(kind) == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert rules == {
        "default-src": "'none'",
        "worker-src": "blob:",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not re.findall(r'(?:src|href|action)="(?!data:,")', text)


def test_a_page_of_an_own_camera_has_its_fit_and_the_figures_of_its_real_noise(tmp_path):
    fits = tmp_path / "fits" / CAMERA
    fits.mkdir(parents=True)
    (fits / "noise.json").write_text(FIT.read_text().replace('"camera": "S6"', f'"camera": "{CAMERA}"'))
    scenes = make_camera(tmp_path, crops=2, std=6)
    words = ["--cam_name", CAMERA, "--pretrain_dir", str(tmp_path / "fits"), "--data_prep_dir", str(tmp_path / "lists")]
    text = write_page(tmp_path, *words, "--real_dir", str(scenes))
    record = json.loads((fits / "real_noise.json").read_text())
    assert [scene["held_out"] for scene in record["scenes"]] == [False] * 4 + [True]
    last = record["scenes"][-1]
    assert (last["iso"], last["crops"]) == (800, 2)
    folder = scenes / last["scene"]
    pairs = [
        [read_image(folder / side / f"{last['scene'][:4]}_{kind}_SRGB_010_{crop:05d}.png") for crop in (1, 2)]
        for side, kind in (("noisy", "NOISY"), ("clean", "GT"))
    ]
    noise = np.stack(pairs[0]).astype(float) - np.stack(pairs[1])
    for channel, figures in enumerate(last["channels"]):
        own = noise[..., channel]
        assert figures["std"] == pytest.approx(own.std(), rel=1e-4)
        centred = own - own.mean((1, 2), keepdims=True)
        expected = [(one[:, 2:] * one[:, :-2]).mean() / (one * one).mean() for one in centred]
        assert figures["rows"][1] == pytest.approx(np.mean(expected), abs=1e-3)
        assert len(figures["columns"]) == 4 and len(figures["level"]) == 16
    assert json.dumps(last["scene"]) in text and f"The fit of camera {CAMERA} names no licence" in text
    assert "Example with real noise" not in text  # which is another camera's
    assert write_page(tmp_path, *words) == text  # the figures are beside the fit


@pytest.mark.skipif(not (SHARED / "real").exists(), reason="needs ../shared/real")
def test_shipped_figures_are_those_of_real_noise():
    [scene] = [
        scene
        for scene in json.loads(FIT.with_name("real_noise.json").read_text())["scenes"]
        if scene["scene"].startswith("0081")
    ]
    folder = SHARED / "real" / "SIDD_Srgb_Parts" / scene["scene"]
    noise = noise_of(*(read_image(folder / f"0081_{kind}_SRGB_010.PNG") for kind in ("NOISY", "GT")))
    assert scene["held_out"]
    for channel, figures in enumerate(scene["channels"]):
        assert figures["std"] == pytest.approx(noise[..., channel].std(), rel=1e-4)
        assert figures["columns"][0] == pytest.approx(autocorrelation(noise)[channel, 5, 4], abs=1e-4)


def test_lights_are_offered_where_they_make_a_difference():
    lights = {name: read_camera(ROOT / "pretrain", name).lights for name in ("DC", "S6")}
    assert lights == {"DC": [3200, 4400, 5500], "S6": []}


def not_a_pipeline(folder):
    tables = {800: torch.zeros(3, len(LEVELS), len(SCORES))}
    CopulaFit(torch.eye(12)[:, :, None, None], tables, {800: torch.ones(1, 3)}, "XY").save(folder / "noise.safetensors")


def changed(old: str, new: str):
    return lambda folder: (folder / "noise.json").write_text(FIT.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, ["XY: has no fit of a camera's noise", "main_fit_noise.py"]),
        (not_a_pipeline, ["noise.safetensors: the fit of a copula, expected a pipeline"]),
        (changed('"malvar"', '"ahd"'), ["noise.json: the fit of camera S6, expected XY"]),
        (changed('"camera": "S6"', '"camera": "XY", "a": ['), ["noise.json: damaged"]),
    ],
)
def test_a_camera_that_the_page_cannot_hold_is_one_line(tmp_path, capsys, make, words):
    folder = tmp_path / "fits" / "XY"
    folder.mkdir(parents=True)
    make(folder)
    output = tmp_path / "page.html"
    given = ["page", "--cam_name", "XY", "--pretrain_dir", str(tmp_path / "fits"), "--output", str(output)]
    assert re.match(
        one_line(*words, "change --cam_name or --pretrain_dir"), refused(capsys, main_export.main, given).strip()
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "fits"]


def test_demosaicking_by_direction_is_refused_and_a_folder_is_no_page(tmp_path, capsys):
    (tmp_path / "S6").mkdir()
    changed('"malvar"', '"ahd"')(tmp_path / "S6")
    given = ["page", "--cam_name", "S6", "--pretrain_dir", str(tmp_path), "--output"]
    message = refused(capsys, main_export.main, [*given, str(tmp_path / "page.html")])
    assert "demosaicking ahd, expected malvar or bilinear" in message
    (tmp_path / "folder.html").mkdir()
    assert "a folder, expected a file name; change --output" in refused(
        capsys, main_export.main, [*given, str(tmp_path / "folder.html")]
    )


# Its JavaScript in Node.

RUN = """
const fs = require("fs"), pipeline = require(process.argv[1]), folder = process.argv[2];
const jobs = JSON.parse(fs.readFileSync(folder + "/jobs.json"));
const answers = jobs.map(({ fit, width, height, seed, given, isos, lights }, i) => {
  const numbers = isos.map((iso) => pipeline.numbersOf(fit, iso));
  const balance = lights.map((light) => pipeline.balanceOf(fit, light));
  const picture = { width, height, data: new Uint8Array(fs.readFileSync(`${folder}/clean${i}`)) };
  const white = given ? new Float32Array(new Uint8Array(fs.readFileSync(`${folder}/white${i}`)).buffer) : undefined;
  const render = pipeline.prepare(fit, picture, { numbers: numbers[0], balance: balance[0], seed, white });
  const noisy = new Uint8ClampedArray(picture.data.length);
  for (let top = 0; top < height; top += pipeline.BAND) render(top, Math.min(top + pipeline.BAND, height), noisy);
  fs.writeFileSync(`${folder}/noisy${i}`, noisy);
  const figures = pipeline.measure(picture, noisy).map((of) => ({ ...of, histogram: Array.from(of.histogram) }));
  return { numbers, balance, figures };
});
fs.writeFileSync(folder + "/answers.json", JSON.stringify(answers));
"""
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node.js on PATH")


def in_node(folder, *jobs: dict) -> list[dict]:
    """Make noise by pipeline.js: -> for each job its numbers, its figures and the noisy image, (H, W, 3) uint8.

    A job has a fit, a clean image, ISOs and lights, the first of which count, and a seed or white noise.
    """
    written = []
    for number, job in enumerate(jobs):
        clean, white = job["clean"], job.get("white")
        np.dstack([clean, np.full(clean.shape[:2], 255, np.uint8)]).tofile(folder / f"clean{number}")
        if white is not None:
            white.astype(np.float32).tofile(folder / f"white{number}")
        plain = {name: job.get(name) for name in ("fit", "isos", "lights", "seed")}
        height, width = clean.shape[:2]
        written.append(plain | {"width": width, "height": height, "given": white is not None})
    (folder / "jobs.json").write_text(json.dumps(written))
    script = ROOT / "synthesis" / "playground" / "pipeline.js"
    done = subprocess.run([NODE, "-e", RUN, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = json.loads((folder / "answers.json").read_text())
    for number, (job, answer) in enumerate(zip(jobs, answers)):
        rgba = np.fromfile(folder / f"noisy{number}", np.uint8).reshape(*job["clean"].shape[:2], 4)
        assert (rgba[..., 3] == 255).all()
        answer["noisy"] = rgba[..., :3]
    return answers


def in_python(pipeline: Pipeline, clean: np.ndarray, iso: int, light: int, white: np.ndarray) -> np.ndarray:
    image = torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].float() / 255
    balances, white = pipeline.balance(light)[None], torch.from_numpy(white)[None, None].float()
    noisy = pipeline.synthesize(image, pipeline.numbers(iso), white, balances=balances)
    return (noisy[0] * 255).round().byte().permute(1, 2, 0).numpy()


def variant(tmp_path, **rendering) -> tuple[dict, Pipeline]:
    """The S6's fit with another rendering: its content, and the pipeline of it."""
    fit = json.loads(FIT.read_text())
    fit["rendering"] |= rendering
    for scene in fit["scenes"]:
        scene["balance"] = [1.3, 0.8]  # the shipped ones are 1 or nearly so
    (tmp_path / "noise.json").write_text(json.dumps(fit))
    return fit, Pipeline.load(tmp_path / "noise.json")


@needs_node
def test_with_given_white_noise_javascript_renders_what_python_does(tmp_path):
    rng = np.random.default_rng(0)
    clean = (
        rng.integers(0, 256, (10, 8, 3)).repeat(7, 0).repeat(7, 1).astype(np.uint8)[:-1, :-3]
    )  # (69, 53), clipped parts
    white = rng.standard_normal(clean.shape[:2])
    renderings = [
        {"demosaicking": demosaicking, "clips": clips, "red": red}
        for demosaicking, clips, red in [
            ("malvar", True, [0, 1]),
            ("malvar", False, [1, 1]),
            ("bilinear", True, [1, 0]),
            ("bilinear", False, [0, 0]),
        ]
    ]
    renderings[0]["out_of_gamut"] = [0.3, 0.2, 0.1]
    clean[:21, :, 0] = 0  # colours that sRGB does not have
    fits = [variant(tmp_path, **rendering) for rendering in renderings]
    jobs = [
        {
            "fit": fit,
            "clean": clean,
            "white": white * strength,
            "isos": [800],
            "lights": [3200],
        }
        for fit, _ in fits
        for strength in (0, 1)  # 0: the rendering alone
    ]
    answers = in_node(tmp_path, *jobs)
    for number, answer in enumerate(answers):
        expected = in_python(fits[number // 2][1], clean, 800, 3200, jobs[number]["white"])
        difference = np.abs(expected.astype(int) - answer["noisy"])
        assert difference.max() <= 1 and (difference > 0).mean() < 1e-3, renderings[number // 2]
    noise = noise_of(answers[1]["noisy"], clean)
    lagged, levels = autocorrelation(noise), noise_level_function(noise_level_sums(noise, clean))[1]
    for channel, figures in enumerate(answers[1]["figures"]):
        own = noise[..., channel]
        np.testing.assert_allclose(figures["rows"], lagged[channel, 4, 5:], atol=1e-5)
        np.testing.assert_allclose(figures["columns"], lagged[channel, 5:, 4], atol=1e-5)
        assert [figures["mean"], figures["std"]] == pytest.approx([own.mean(), own.std()])
        assert figures["histogram"] == np.bincount(own.ravel() + 255, minlength=511).tolist()
        np.testing.assert_allclose(np.array(figures["level"], float), levels[channel], rtol=1e-6)


@needs_node
@pytest.mark.filterwarnings("ignore:.*is extrapolated")
def test_javascript_has_the_numbers_of_every_iso_and_light(tmp_path):
    clean, isos, lights = np.zeros((8, 8, 3), np.uint8), [100, 50, 25, 777, 3200, 25600], [0, 3200, 4000, 5000]
    paths = sorted((ROOT / "pretrain").glob("*/noise.json"))
    fits = [json.loads(path.read_text()) for path in paths]
    fits.append(fits[0] | {"scenes": fits[0]["scenes"][:1]})  # a single ISO
    (tmp_path / "one.json").write_text(json.dumps(fits[-1]))
    jobs = [{"fit": fit, "clean": clean, "seed": 0, "isos": isos, "lights": lights} for fit in fits]
    for path, answer in zip([*paths, tmp_path / "one.json"], in_node(tmp_path, *jobs)):
        pipeline = Pipeline.load(path)
        np.testing.assert_allclose(answer["numbers"], [pipeline.numbers(iso).tolist() for iso in isos], rtol=1e-5)
        np.testing.assert_allclose(answer["balance"], [pipeline.balance(light).tolist() for light in lights], rtol=1e-5)


def assert_like_python(figures: list[dict], noisy: np.ndarray, clean: np.ndarray) -> None:
    noise = noise_of(noisy, clean)
    lagged = autocorrelation(noise)
    for channel, own in enumerate(figures):
        assert own["std"] == pytest.approx(noise[..., channel].std(), rel=0.02)
        assert own["mean"] == pytest.approx(noise[..., channel].mean(), abs=0.1)
        assert own["rows"][0] == pytest.approx(lagged[channel, 4, 5], abs=0.01)
        assert own["columns"][0] == pytest.approx(lagged[channel, 5, 4], abs=0.01)


@pytest.fixture(scope="module")
def photograph() -> tuple[np.ndarray, np.ndarray]:
    """The example, and Python's noise on it."""
    clean = read_image(PHOTOGRAPH)
    white = np.random.default_rng(0).standard_normal(clean.shape[:2])
    return clean, in_python(Pipeline.load(FIT), clean, ISO, 0, white)


@needs_node
def test_the_noise_of_a_seed_has_pythons_statistics_and_another_seed_gives_other_noise(tmp_path, photograph):
    clean, expected = photograph
    job = {"fit": json.loads(FIT.read_text()), "clean": clean, "isos": [ISO], "lights": [0]}
    first, second = in_node(tmp_path, job | {"seed": 0}, job | {"seed": 4294967295})
    for answer in (first, second):
        assert_like_python(answer["figures"], expected, clean)
    noises = [noise_of(answer["noisy"], clean).ravel() for answer in (first, second)]
    assert abs(np.corrcoef(*noises)[0, 1]) < 0.02


# All of it in a browser.


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if BROWSER is None:
        pytest.skip(f"needs one of {', '.join(NAMES)} on PATH, or {VARIABLE}")
    with open_browser(BROWSER, tmp_path_factory.mktemp("profile")) as tab:
        tab.open(PAGE.as_uri())
        tab.wait("typeof state !== 'undefined' && state.answer")
        yield tab


def error_of(tab) -> str:
    tab.wait("element('error').textContent")
    return tab.run("element('error').textContent")


def test_in_a_browser_the_example_gets_pythons_noise_without_a_complaint_or_a_request(tab, photograph):
    clean, expected = photograph
    assert tab.requests() == [PAGE.as_uri()] and tab.complaints() == []
    tab.run("state.answer = null; element('iso').focus()")
    tab.press("Home", 36)  # to the least ISO, as one does on the keyboard
    tab.wait("state.answer")
    assert tab.run("[state.settings.iso, state.settings.fit.camera]") == [ISO, "S6"]
    assert tab.run("element('iso').getAttribute('aria-valuetext')") == f"ISO {ISO}, measured"
    figures = tab.run("state.answer.figures.map(({ histogram, ...rest }) => rest)")
    assert_like_python(figures, expected, clean)
    shown = tab.run("[...document.querySelectorAll('#numbers tr:first-child td')].map((cell) => cell.textContent)")
    assert shown[:3] == [f"{of['std']:.2f}" for of in figures]
    assert [event["targetInfo"]["type"] for event in tab.of("Target.attachedToTarget")] == ["page", "worker"]


def test_in_a_browser_the_example_with_real_noise_shows_that_of_the_same_picture(tab):
    tab.run("state.answer = null; element('example1').click()")
    tab.wait("state.answer")
    noise = noise_of(*(read_image(ROOT / "test" / "imgs" / f"{side}.png") for side in ("noisy", "clean")))
    shown = tab.run("[...document.querySelectorAll('#numbers tr:first-child td')].map((cell) => cell.textContent)")
    assert shown[3:] == [f"{std:.2f}" for std in noise.std((0, 1))]
    assert tab.run("element('real-view').hidden") is False
    assert "this very picture" in tab.run("element('beside').textContent")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("words.png", b"no picture", "not a picture that this browser can read"),
        ("empty.jpg", b"", "the file is empty"),
        ("cut.png", PHOTOGRAPH.read_bytes()[:40], "not a picture that this browser can read"),
        ("small.png", None, "7 x 9 pixels, expected sides from 8 pixels"),
    ],
)
def test_in_a_browser_a_bad_file_is_one_line_and_the_picture_before_stays(tab, tmp_path, name, content, words):
    if content is None:
        write_image(tmp_path / name, np.zeros((9, 7, 3), np.uint8))
    else:
        (tmp_path / name).write_bytes(content)
    before = tab.run("fail(''), state.picture.name")
    tab.choose_file("#file", tmp_path / name)
    message = error_of(tab)
    assert message.startswith(f"{name}: ") and words in message
    assert tab.run("state.picture.name") == before


def test_in_a_browser_a_wrong_seed_is_one_line(tab):
    tab.run("element('seed').value = '-1'; element('seed').dispatchEvent(new Event('input'))")
    assert error_of(tab) == "Seed: expected a whole number from 0 to 4294967295."
    tab.run("element('seed').value = '5'; element('seed').dispatchEvent(new Event('input'))")
    assert tab.run("element('error').textContent") == ""


def test_in_a_browser_a_file_is_noised_and_the_download_is_what_is_shown(tab, tmp_path):
    clean = np.random.default_rng(0).integers(0, 256, (5, 9, 3)).repeat(16, 0).repeat(11, 1).astype(np.uint8)
    write_image(tmp_path / "my.picture.png", clean)
    tab.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"), eventsEnabled=True)
    tab.run("element('seed').value = '7'")
    tab.choose_file("#file", tmp_path / "my.picture.png")
    tab.wait("state.picture.name === 'my.picture' && state.answer")
    iso = tab.run("state.settings.iso")
    tab.run("element('download').click()")
    tab.wait("element('message').textContent.startsWith('Saved as')")
    path = tmp_path / "saved" / f"my.picture_S6_ISO{iso}_seed7.png"
    for _ in range(200):
        if any(event["state"] == "completed" for event in tab.of("Browser.downloadProgress")):
            break
        tab.run("new Promise((resume) => setTimeout(resume, 20))")
    saved = read_image(path)
    assert saved.shape == clean.shape
    values = np.frombuffer(base64.b64decode(tab.run("btoa(String.fromCharCode(...state.answer.noisy))")), np.uint8)
    np.testing.assert_array_equal(saved, values.reshape(80, 99, 4)[..., :3])
    assert (saved != clean).mean() > 0.5


def test_in_a_browser_a_dragged_slider_makes_the_last_iso_and_not_all(tab):
    script = """new Promise((tell) => {
      let made = 0;
      worker.addEventListener("message", ({ data }) => {
        made += data.noisy ? 1 : 0;
        if (data.id === state.request && data.noisy) tell([made, state.asked.iso]);
      });
      for (let place = 0; place <= Number(element("iso").max); place++) {
        element("iso").value = place;
        element("iso").dispatchEvent(new Event("input"));
      }
    })"""
    made, iso = tab.run(script)
    assert iso == 3200 and made < 10  # of 41


def test_in_a_browser_a_dropped_file_is_taken(tab, tmp_path):
    write_image(tmp_path / "dropped.png", np.full((20, 30, 3), 90, np.uint8))
    data = {"items": [], "files": [str(tmp_path / "dropped.png")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        tab.send("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)
    tab.wait("state.picture.name === 'dropped' && state.answer")
    assert tab.run("[state.picture.width, state.picture.height]") == [30, 20]
    assert not tab.run("element('drop').classList.contains('over')")


def test_in_a_browser_keys_and_two_fingers_zoom_all_views(tab):
    tab.run("element('example0').click()")
    tab.wait("state.picture.name === 'chelsea'")
    tab.run("zoomTo(1); document.querySelector('[data-source=noisy]').focus()")
    tab.press("+")
    assert tab.run("element('zoom').textContent") == "200 %"
    before = tab.run("state.view.x")
    tab.press("ArrowRight", 39)
    assert tab.run("state.view.x") == before + 30  # 60 pixels of the screen
    tab.run("views[0].scrollIntoView({ block: 'center' })")
    x, y = tab.run("(({ x, y, width, height }) => [x + width / 2, y + height / 2])(views[0].getBoundingClientRect())")
    for kind, apart in (("touchStart", 20), ("touchMove", 30), ("touchMove", 40), ("touchEnd", None)):
        fingers = [] if apart is None else [{"x": x + side * apart, "y": y, "id": i} for i, side in enumerate((-1, 1))]
        tab.send("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)
    assert tab.run("element('zoom').textContent") == "400 %"
    before = tab.run("state.view.x")
    moves = [("mousePressed", 0, 1), ("mouseMoved", -40, 1), ("mouseReleased", -40, 0), ("mouseMoved", 20, 0)]
    for kind, shift, buttons in moves:  # the last one does not drag
        button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" or buttons else {}
        tab.send("Input.dispatchMouseEvent", type=kind, x=x + shift, y=y, buttons=buttons, **button)
    assert tab.run("state.view.x") == before + 10  # 40 pixels of the screen


def test_in_a_browser_the_page_could_not_ask_a_host_if_it_wanted_to(tab):
    script = """new Promise((tell) => {
      document.addEventListener("securitypolicyviolation", (event) => tell(event.effectiveDirective), { once: true });
      fetch("http://127.0.0.1:9/").catch(() => setTimeout(() => tell("allowed"), 500));
    })"""
    assert tab.run(script) == "connect-src"
