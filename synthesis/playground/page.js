// What a visitor touches: pictures in, views, charts and a noisy PNG out. The noise itself is made in a worker.
"use strict";

const MOST_MEGAPIXELS = 24, MOST_MEGABYTES = 100, SMALLEST = 8; // of a picture that is taken as it is; pixels of a side
const STOPS = 8; // of the ISO, from one to its double
const ZOOMS = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32];
const CHANNELS = ["red", "green", "blue"];
const { cameras, pictures } = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const worker = new Worker(URL.createObjectURL(new Blob([element("pipeline").textContent], { type: "text/javascript" })));
const state = { picture: null, sources: {}, request: 0, isos: [], view: { x: 0, y: 0, zoom: 1 }, loading: 0 };

// Messages.

function say(text) {
  element("message").textContent = text;
}

function fail(text) {
  element("error").textContent = text;
}

// The picture.

function sourceOf(pixels, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no memory for a picture of this size");
  if (pixels) context.putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

/** Decode a file: -> ImageData, on white where it is transparent, and what was done to it. */
async function decode(file, name) {
  if (!file.size) throw new Error(`${name}: the file is empty.`);
  if (file.size > MOST_MEGABYTES * 1e6) {
    throw new Error(`${name}: ${Math.round(file.size / 1e6)} MB, this page takes up to ${MOST_MEGABYTES}.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${name}: not a picture that this browser can read. PNG, JPEG, WebP, AVIF and GIF are.`);
  }
  const { width, height } = bitmap, share = Math.min(1, Math.sqrt((MOST_MEGAPIXELS * 1e6) / (width * height)));
  const [across, down] = [Math.floor(width * share), Math.floor(height * share)];
  if (Math.min(across, down) < SMALLEST) {
    throw new Error(`${name}: ${width} x ${height} pixels, expected sides from ${SMALLEST} pixels.`);
  }
  const context = sourceOf(null, across, down).getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, across, down);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, across, down);
  bitmap.close();
  const note = share < 1 ? ` Reduced from ${width} x ${height}: the page takes up to ${MOST_MEGAPIXELS} megapixels.` : "";
  return { image: context.getImageData(0, 0, across, down), note };
}

/** Take a picture: a file, and the real noisy one of an example. */
async function take(file, name, example = null) {
  const turn = ++state.loading;
  fail("");
  say(`Reading ${name} …`);
  try {
    const { image, note } = await decode(file, name);
    const real = example && example.noisy ? (await decode(await blobOf(example.noisy), name)).image.data : null;
    if (turn !== state.loading) return;
    const { width, height, data } = image;
    [state.sources, state.answer] = [{ clean: sourceOf(data, width, height), real: real && sourceOf(real, width, height) }, null];
    element("download").disabled = true;
    state.picture = { name: name.replace(/\.[^.]*$/, ""), width, height, note, example };
    element("real-view").hidden = !real;
    element("caption").textContent = `Picture: ${example ? example.caption : name}.`;
    resetView();
    make({ width, height, data, real });
  } catch (error) {
    if (turn !== state.loading) return;
    say(state.picture ? "The picture before is still here." : "");
    fail(error.message);
  }
}

async function blobOf(url) {
  const bytes = Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

async function takeExample(example) {
  if (example.camera) {
    element("camera").value = cameras.findIndex((camera) => camera.fit.camera === example.camera);
    offerCamera(example.iso);
  }
  await take(await blobOf(example.clean), example.name, example);
}

function takeFirst(files) {
  if (!files.length) return fail("There was no file in what was dropped.");
  take(files[0], files[0].name || "pasted picture");
}

// The settings.

const chosen = () => cameras[Number(element("camera").value)];
const iso = () => state.isos[Number(element("iso").value)];
const measured = () => [...new Set(chosen().fit.scenes.map((scene) => scene.iso))].sort((a, b) => a - b);

/** Offer the chosen camera's ISOs and lights, at the ISO that is nearest to the given one. */
function offerCamera(nearTo) {
  const isos = measured(), { lights } = chosen(), nearest = (each) => Math.abs(Math.log(each / nearTo));
  state.isos = isos.slice(0, 1);
  for (let i = 1; i < isos.length; i++) {
    const octaves = Math.log2(isos[i] / isos[i - 1]), steps = Math.max(1, Math.round(STOPS * octaves));
    for (let step = 1; step <= steps; step++) state.isos.push(Math.round(isos[i - 1] * 2 ** ((octaves * step) / steps)));
  }
  element("iso").max = state.isos.length - 1;
  element("iso").value = state.isos.reduce((best, each, i) => (nearest(each) < nearest(state.isos[best]) ? i : best), 0);
  element("measured").textContent = `Measured at ISO ${isos.join(", ")}.`;
  element("light").parentElement.hidden = !lights.length;
  element("light").replaceChildren(new Option("typical", 0), ...lights.map((light) => new Option(`${light} K`, light)));
  showIso();
}

function showIso() {
  const isos = measured(), above = isos.findIndex((each) => each >= iso());
  const where = isos[above] === iso() ? "measured" : `between ${isos[above - 1]} and ${isos[above]}`;
  element("iso-value").textContent = `${iso()}, ${where}`;
  element("iso").setAttribute("aria-valuetext", `ISO ${iso()}, ${where}`);
}

/** Ask the worker for the noisy picture; `given` is a new picture. */
function make(given = null) {
  const seed = Number(element("seed").value);
  if (!Number.isInteger(seed) || seed < 0 || seed > 4294967295 || element("seed").value === "") {
    fail("Seed: expected a whole number from 0 to 4294967295.");
    if (!given) return;
  } else fail("");
  if (!state.picture) return;
  element("progress").hidden = false;
  element("progress").removeAttribute("value");
  const settings = { fit: chosen().fit, iso: iso(), illuminant: Number(element("light").value), seed: seed >>> 0 };
  worker.postMessage({ id: ++state.request, given, ...settings });
  state.asked = { title: chosen().title, ...settings };
}

worker.onerror = () => fail("This browser does not let the page compute in the background. Try another browser.");
worker.onmessage = ({ data: answer }) => {
  if (answer.id !== state.request) return;
  if (answer.share !== undefined) return void (element("progress").value = answer.share);
  element("progress").hidden = true;
  if (answer.error) return fail(`The noise could not be made: ${answer.error}.`);
  const { width, height, note } = state.picture, { title, iso: value } = state.asked;
  state.sources.noisy = sourceOf(answer.noisy, width, height);
  state.sources.difference = sourceOf(answer.difference, width, height);
  [state.answer, state.settings] = [answer, state.asked];
  element("download").disabled = false;
  say(`${title}, ISO ${value}: ${width} x ${height} pixels in ${answer.seconds.toFixed(2)} s.${note}`);
  draw();
  showFigures();
};

function download() {
  const { fit, iso: value, seed } = state.settings;
  state.sources.noisy.toBlob((blob) => {
    if (!blob) return fail("The browser could not write the PNG.");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${state.picture.name}_${fit.camera}_ISO${value}_seed${seed}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`Saved as ${link.download}.`);
  }, "image/png");
}

// The views, which show one place at one zoom.

const views = [...document.querySelectorAll("canvas[data-source]")];

const paneSize = (canvas = views[0]) => [canvas.clientWidth, canvas.clientHeight];

function fitZoom() {
  const [width, height] = paneSize();
  return Math.min(width / state.picture.width, height / state.picture.height);
}

function resetView() {
  const { width, height } = state.picture, fits = fitZoom();
  state.view = { x: width / 2, y: height / 2, zoom: fits >= 1 ? Math.max(1, Math.floor(fits)) : 1 };
  draw();
}

/** Zoom, and keep the point of the picture that is at (x, y) of a pane. */
function zoomTo(zoom, canvas, x, y) {
  if (!state.picture) return;
  const { view } = state, [width, height] = paneSize(canvas), next = Math.min(Math.max(zoom, Math.min(fitZoom(), 1)), 32);
  const [dx, dy] = [(x ?? width / 2) - width / 2, (y ?? height / 2) - height / 2];
  view.x += dx / view.zoom - dx / next;
  view.y += dy / view.zoom - dy / next;
  view.zoom = next;
  draw();
}

function zoomBy(steps) {
  const { zoom } = state.view;
  zoomTo(steps > 0 ? ZOOMS.find((each) => each > zoom * 1.01) ?? 32 : [...ZOOMS].reverse().find((each) => each < zoom / 1.01) ?? 0);
}

function move(dx, dy) {
  state.view.x -= dx / state.view.zoom;
  state.view.y -= dy / state.view.zoom;
  draw();
}

function draw() {
  if (!state.picture) return;
  const { view } = state, { width, height } = state.picture, pane = paneSize(), scale = view.zoom * devicePixelRatio;
  const within = (place, side, shown) => (side <= shown ? side / 2 : Math.min(Math.max(place, shown / 2), side - shown / 2));
  view.x = within(view.x, width, pane[0] / view.zoom);
  view.y = within(view.y, height, pane[1] / view.zoom);
  for (const canvas of views) {
    const source = state.sources[canvas.dataset.source], [across, down] = paneSize(canvas).map((side) => Math.round(side * devicePixelRatio));
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, across, down);
    if (!source) continue;
    context.imageSmoothingEnabled = scale < 1;
    context.setTransform(scale, 0, 0, scale, Math.round(across / 2 - view.x * scale), Math.round(down / 2 - view.y * scale));
    context.drawImage(source, 0, 0);
  }
  element("zoom").textContent = `${Math.round(view.zoom * 100)} %`;
}

for (const canvas of views) {
  const fingers = new Map();
  const middle = () => {
    const places = [...fingers.values()], [a, b] = [places[0], places[places.length - 1]];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId) || !state.picture) return;
    const before = middle();
    fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    const after = middle();
    move(after.x - before.x, after.y - before.y);
    if (before.apart && after.apart) zoomTo((state.view.zoom * after.apart) / before.apart, canvas, after.x, after.y);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return; // the page scrolls
    event.preventDefault();
    zoomTo(state.view.zoom * 2 ** (-event.deltaY / 300), canvas, event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
      "+": () => zoomBy(1), "=": () => zoomBy(1), "-": () => zoomBy(-1), 0: () => zoomTo(fitZoom()), 1: () => zoomTo(1),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey || !state.picture) return;
    event.preventDefault();
    keys[event.key]();
  });
}

// The figures.

/** Choose the real noise to put beside: of this very picture, else of the camera's scene whose ISO is nearest. */
function realFigures() {
  const { example } = state.picture, { fit, iso: value } = state.settings, apart = (scene) => Math.abs(Math.log(scene.iso / value));
  if (example && example.camera === fit.camera) {
    return { iso: example.iso, of: `this very picture (scene ${example.scene}, not seen by the fit)`, channels: state.answer.real };
  }
  const scene = chosen().real.reduce((a, b) => (!a || apart(b) < apart(a) || (apart(b) === apart(a) && b.held_out) ? b : a), null);
  if (!scene) return null;
  const seen = scene.held_out ? "not seen by the fit" : "seen by the fit", crops = scene.crops > 1 ? `${scene.crops} crops` : "a crop";
  return { iso: scene.iso, of: `${crops} of scene ${scene.scene.slice(0, 4)}, ${seen}`, channels: scene.channels };
}

function showFigures() {
  const real = realFigures(), made = state.answer.figures, { fit, iso: value } = state.settings, exact = real && real.channels[0].histogram;
  element("made-of").textContent = `This page: ${fit.camera}, ISO ${value}`;
  element("real-of").textContent = real ? `Real: ${fit.camera}, ISO ${real.iso}` : "Real: none in this page";
  element("beside").textContent = !real
    ? "The page has no figures of real noise of this camera."
    : `Real noise (hollow marks${exact ? ", dashed lines" : ""}) is that of ${real.of}, at ISO ${real.iso}. ` +
      (exact ? "" : "It was measured on another picture than yours: compare the correlation; the std only roughly, for it depends on brightness and colour. ") +
      (real.iso === value ? "" : `Its ISO is not the chosen ${value}: the std differs for that reason, too.`);
  const number = (each) => (each === undefined ? "–" : (Math.abs(each) < 0.005 ? 0 : each).toFixed(2).replace("-", "−"));
  const rows = [["std, grey levels", (of) => of.std], ["mean, grey levels", (of) => of.mean],
    ["correlation with the pixel beside", (of) => of.rows[0]], ["correlation with the pixel below", (of) => of.columns[0]]];
  element("numbers").replaceChildren(...rows.map(([name, read]) => {
    const row = document.createElement("tr"), heading = document.createElement("th");
    [heading.scope, heading.textContent] = ["row", name];
    row.append(heading, ...[made, real ? real.channels : [{}, {}, {}]].flatMap((channels) =>
      channels.map((of) => Object.assign(document.createElement("td"), { textContent: number(of.std === undefined ? undefined : read(of)) }))));
    return row;
  }));
  const both = [["made", made], ...(real ? [["real", real.channels]] : [])];
  const widest = Math.min(255, Math.max(8, Math.ceil(4 * Math.max(...made.map((of) => of.std)))));
  const shares = ({ histogram }) => {
    const total = histogram.reduce((sum, count) => sum + count, 0), points = [];
    for (let value = -widest; value <= widest; value++) points.push([value, (100 * histogram[value + 255]) / total]);
    return points;
  };
  chart("histogram", { from: -widest, to: widest, ticks: [-widest, 0, widest], format: (tick) => tick.toFixed(1) }, both.flatMap(([kind, channels]) =>
    channels.map((of, channel) => ({ kind, channel, line: kind === "real", points: of.histogram ? shares(of) : [], marks: false }))));
  const lags = [1, 2, 3, 4], names = lags.map(String);
  chart("correlation", { from: 0.5, to: 10, least: -0.1, ticks: [1, 2, 3, 4, 6.5, 7.5, 8.5, 9.5], names: [...names, ...names], groups: [["beside", 2.5], ["below", 8]], format: (tick) => tick.toFixed(1) }, both.flatMap(([kind, channels]) =>
    channels.flatMap((of, channel) => [[of.rows, 0], [of.columns, 5.5]].map(([values, shift]) => ({ kind, channel, points: values.map((each, i) => [i + 1 + shift, each]), marks: true })))));
  chart("level", { from: 0, to: 256, ticks: [0, 64, 128, 192, 255], format: (tick) => tick.toFixed(0) }, both.flatMap(([kind, channels]) =>
    channels.map((of, channel) => ({ kind, channel, points: of.level.flatMap((std, bin) => (std === null ? [] : [[16 * bin + 8, std]])), marks: true }))));
}

/** Draw lines and marks: what the page made is joined and filled, what is real hollow, or dashed where it is a line. */
function chart(id, { from, to, least = 0, ticks, names = ticks.map(String), groups = [], format }, series) {
  const width = 360, height = 220, [left, right, top, bottom] = [34, 8, 10, 24];
  const svg = element(id), drawn = (name, attributes, text = "") => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    node.textContent = text;
    return svg.appendChild(node);
  };
  const highest = Math.max(...series.flatMap(({ points }) => points.map((point) => point[1]))), rough = (highest - least) / 4;
  const unit = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].find((factor) => factor * unit >= rough) * unit;
  const most = Math.ceil(highest / step) * step, x = (value) => left + ((value - from) / (to - from)) * (width - left - right);
  const y = (value) => height - bottom - ((value - least) / (most - least)) * (height - top - bottom);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (let tick = 0; tick <= most + step / 2; tick += step) {
    drawn("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: tick ? "grid" : "axis" });
    drawn("text", { x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, step < 0.1 ? tick.toFixed(2) : step < 1 ? format(tick) : tick.toFixed(0));
  }
  ticks.forEach((tick, i) => drawn("text", { x: x(tick), y: height - 8, "text-anchor": "middle" }, names[i].replace("-", "−")));
  for (const [name, place] of groups) drawn("text", { x: x(place), y: top + 12, "text-anchor": "middle" }, name);
  for (const { kind, channel, line, points, marks } of series) {
    if (points.length && (kind === "made" || line)) {
      drawn("path", { d: `M${points.map((point) => `${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`).join("L")}`, class: `${kind} ${CHANNELS[channel]} line` });
    }
    for (const point of marks ? points : []) {
      const [px, py, r] = [x(point[0]), y(point[1]), kind === "made" ? 2.6 : 4.6];
      const shapes = [["circle", { cx: px, cy: py, r }], ["rect", { x: px - r, y: py - r, width: 2 * r, height: 2 * r }],
        ["path", { d: `M${px} ${py - 1.2 * r}L${px + 1.2 * r} ${py + r}L${px - 1.2 * r} ${py + r}Z` }]];
      drawn(shapes[channel][0], { ...shapes[channel][1], class: `${kind} ${CHANNELS[channel]} mark` });
    }
  }
}

// Wires.

element("camera").append(...cameras.map((camera, i) => new Option(`${camera.title} (${camera.fit.camera})`, i)));
offerCamera(800);
element("camera").addEventListener("change", () => {
  offerCamera(iso());
  make();
});
element("iso").addEventListener("input", () => {
  showIso();
  make();
});
for (const id of ["light", "seed"]) element(id).addEventListener("input", () => make());
element("file").addEventListener("change", (event) => {
  if (event.target.files.length) takeFirst(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});
pictures.forEach((example, i) => {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: example.title, id: `example${i}` });
  button.addEventListener("click", () => takeExample(example));
  element("examples").append(button);
});
element("download").addEventListener("click", download);
element("out").addEventListener("click", () => zoomBy(-1));
element("in").addEventListener("click", () => zoomBy(1));
element("whole").addEventListener("click", () => state.picture && zoomTo(fitZoom()));
element("pixels").addEventListener("click", () => zoomTo(1));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") takeFirst(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => event.clipboardData.files.length && takeFirst(event.clipboardData.files));
new ResizeObserver(draw).observe(views[0]);
takeExample(pictures[0]);
