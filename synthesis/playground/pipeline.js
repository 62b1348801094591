// A camera's noise, as noise/pipeline.py makes it: raw noise through the camera's own rendering, by linear demosaicking.
// The page runs this file in a worker, the tests run it in Node. Images are 8-bit RGBA, row by row.
"use strict";

const SNR_KNOTS = [0, 0.5, 1, 2, 4, 8, 24]; // of the shape of raw noise: raw value over its std
const POWERS = [1, 2]; // of the ISO, by which shot and read noise grow where only one ISO was measured
const LEAST_NOISE = 1e-8, MOST_BALANCE = 8;
const TABLE = 2048, LEVELS = 65536, QUANTILES = 201; // entries of the lookups by raw value and by linear light
const REACH = 2, BAND = 64; // pixels that demosaicking looks around; rows that are rendered at a time
const MAX_LAG = 4, LEVEL_BINS = 16, LEVEL_PIXELS = 500; // of the noise's figures, as metrics/structure.py has them

const NONE = [0, 0, 0, 0, 0];
// Taps of 5x5 that give green at red and at blue; red at green in rows of red; red at blue; and their divisor.
const DEMOSAICKING = {
  malvar: [
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]],
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]],
    [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]],
    8,
  ],
  bilinear: [
    [NONE, [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], NONE],
    [NONE, NONE, [0, 2, 0, 2, 0], NONE, NONE],
    [NONE, [0, 1, 0, 1, 0], NONE, [0, 1, 0, 1, 0], NONE],
    4,
  ],
};

const lerp = (a, b, share) => a + (b - a) * share;
const clamp = (value, low, high) => (value < low ? low : value > high ? high : value);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** List the ISOs of the training scenes. */
function isosOf(fit) {
  return [...new Set(fit.scenes.map((scene) => scene.iso))].sort((a, b) => a - b);
}

/** Return the logarithm of the typical value: the mean of the middle half; of less than four values, of all. */
function typicalLog(values) {
  const ordered = values.map((value) => Math.log(Math.max(value, LEAST_NOISE))).sort((a, b) => a - b);
  const cut = Math.floor(ordered.length / 4);
  return mean(ordered.slice(cut, ordered.length - cut));
}

/** Return typical shot and read noise of red, green and blue at an ISO; a power law holds between and beyond ISOs. */
function numbersOf(fit, iso) {
  const isos = isosOf(fit), places = isos.map((each) => Math.log(Math.max(each, 1))), place = Math.log(Math.max(iso, 1));
  return [0, 1, 2].map((colour) => POWERS.map((power, which) => {
    const logs = isos.map((each) =>
      typicalLog(fit.scenes.filter((scene) => scene.iso === each).map((scene) => scene.noise[colour][which])));
    const above = places.findIndex((each) => each >= place);
    if (above > 0) {
      const share = (place - places[above - 1]) / (places[above] - places[above - 1]);
      return Math.exp(lerp(logs[above - 1], logs[above], share));
    }
    if (places[above] === place) return Math.exp(logs[above]);
    const spread = places.map((each) => each - mean(places)), squares = spread.reduce((sum, each) => sum + each * each, 0);
    const slope = squares ? spread.reduce((sum, each, i) => sum + each * logs[i], 0) / squares : power;
    const end = above ? places.length - 1 : 0;
    return Math.exp(logs[end] + clamp(slope, 0, power) * (place - places[end]));
  }));
}

/** Return the typical factors of the matrix's red and blue row under the nearest illuminant, in kelvin; 0: any. */
function balanceOf(fit, illuminant) {
  const known = fit.scenes.map((scene) => scene.illuminant).filter(Boolean);
  const apart = (each) => Math.abs(each - illuminant);
  const nearest = illuminant && known.length ? known.reduce((a, b) => (apart(b) < apart(a) ? b : a)) : null;
  const scenes = fit.scenes.filter((scene) => nearest === null || scene.illuminant === nearest);
  return [0, 1].map((row) => Math.exp(typicalLog(scenes.map((scene) => scene.balance[row]))));
}

/** Return quantiles of N(0, 1), evenly spaced in probability: the solution of q' = sqrt(2 pi) exp(q^2 / 2), q(1/2) = 0. */
function normalQuantiles(count) {
  const slope = (q) => Math.sqrt(2 * Math.PI) * Math.exp((q * q) / 2), parts = 64;
  const step = 1 / count / parts, quantiles = new Float64Array(count);
  for (let i = (count - 1) / 2, q = 0; i < count; i++) { // an odd count: one of them is 0
    quantiles[i] = q;
    quantiles[count - 1 - i] = -q;
    for (let part = 0; part < parts; part++) { // Runge and Kutta's method
      const a = slope(q), b = slope(q + (step / 2) * a), c = slope(q + (step / 2) * b), d = slope(q + step * c);
      q += (step / 6) * (a + 2 * b + 2 * c + d);
    }
  }
  return quantiles;
}

/** Tabulate raw noise by raw value: noise = scale * sinh((asinh z + skew) * tail) + offset; see `raw_lookup`. */
function rawLookup(numbers, shape, white) {
  const lookup = { scale: [], offset: [], skew: [], tail: [] };
  for (const name in lookup) lookup[name] = new Float32Array(3 * TABLE);
  const quantiles = normalQuantiles(QUANTILES);
  for (let colour = 0; colour < 3; colour++) {
    const level = shape.level[colour], shift = shape.mean[colour], skew = shape.skew[colour];
    const tail = shape.tail[colour].map((each) => Math.exp(-each));
    const moments = SNR_KNOTS.map((_, knot) => {
      const values = Array.from(quantiles, (q) => Math.sinh((Math.asinh(q) + skew[knot]) * tail[knot])), middle = mean(values);
      return [middle, Math.sqrt(Math.max(mean(values.map((value) => (value - middle) ** 2)), 1e-9))];
    });
    for (let i = 0, low = 0; i < TABLE; i++) {
      const raw = white * (i / (TABLE - 1)) ** 2;
      let std = Math.sqrt(Math.max(numbers[colour][0] * raw + numbers[colour][1], 1e-12));
      const ratio = Math.min(raw / std, SNR_KNOTS[SNR_KNOTS.length - 1]);
      while (low < SNR_KNOTS.length - 2 && SNR_KNOTS[low + 1] <= ratio) low++;
      const share = (ratio - SNR_KNOTS[low]) / (SNR_KNOTS[low + 1] - SNR_KNOTS[low]);
      const at = (values) => lerp(values[low], values[low + 1], share), place = colour * TABLE + i;
      std *= Math.exp(at(level));
      lookup.scale[place] = std / at(moments.map((pair) => pair[1]));
      lookup.offset[place] = std * at(shift) - lookup.scale[place] * at(moments.map((pair) => pair[0]));
      lookup.skew[place] = at(skew);
      lookup.tail[place] = at(tail);
    }
  }
  return lookup;
}

/** Tabulate 8-bit levels by linear light, evenly spaced in its root. */
function levelsByLight(light) {
  const levels = new Uint8Array(LEVELS);
  for (let i = 0, level = 0; i < LEVELS; i++) {
    while (level < 255 && (light[level] + light[level + 1]) / 2 < (i / (LEVELS - 1)) ** 2) level++;
    levels[i] = level;
  }
  return levels;
}

function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const cofactors = [[e * i - f * h, c * h - b * i, b * f - c * e], [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d]];
  const determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0];
  return cofactors.map((row) => row.map((value) => value / determinant));
}

/** Fill a row with white noise, N(0, 1), which follows from the seed and the row alone: sfc32, Box and Muller. */
function fillWhite(row, seed, y) {
  let a = seed >>> 0, b = y >>> 0, c = 0x9e3779b9, counter = 1;
  const draw = () => {
    const sum = (((a + b) | 0) + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 15; i++) draw();
  for (let x = 0; x < row.length; x += 2) {
    const radius = Math.sqrt(-2 * Math.log((draw() + 1) / 4294967297)), angle = (2 * Math.PI * draw()) / 4294967296;
    row[x] = radius * Math.cos(angle);
    if (x + 1 < row.length) row[x + 1] = radius * Math.sin(angle);
  }
}

/** Continue indices by their mirror image, which does not repeat the border. */
function mirrored(index, length) {
  const inside = Math.abs(index);
  return inside < length ? inside : 2 * (length - 1) - inside;
}

/**
 * Prepare a camera's noise for an image: -> render(top, bottom, noisy), which fills rows of the noisy image.
 *
 * settings: numbers and balance, of `numbersOf` and `balanceOf`; seed, or white: z values of all pixels.
 */
function prepare(fit, { width, height, data }, { numbers, balance, seed, white }) {
  const { light, overexposed, out_of_gamut: outside = [0, 0, 0], clips, white: top255, red, demosaicking } = fit.rendering;
  const matrix = fit.rendering.matrix.map((row, i) => row.map((value) => value * [balance[0], 1, balance[1]][i]));
  const tables = overexposed.map((most) => Float32Array.from(light, (value, level) => (level === 255 ? most : value)));
  const [m, s] = [matrix.flat(), inverse(matrix).flat()];
  const { scale, offset, skew, tail } = rawLookup(numbers, fit.shape, top255), levels = levelsByLight(light);
  const wide = width + 2 * REACH, colours = new Float32Array(3 * width * BAND), noise = new Float32Array(wide * (BAND + 2 * REACH));
  // For each of the four places of the mosaic and each colour: the taps as flat offsets and weights.
  const [green, row, diagonal, divisor] = DEMOSAICKING[demosaicking];
  const turned = row.map((_, i) => row.map((each) => each[i])), same = [NONE, NONE, [0, 0, divisor, 0, 0], NONE, NONE];
  const taps = [[same, row, turned, diagonal], [green, same, same, green], [diagonal, turned, row, same]].map((places) =>
    places.map((filter) => filter.flatMap((line, i) => line.flatMap((weight, j) =>
      weight ? [[(i - REACH) * wide + j - REACH, weight / divisor]] : []))));
  const flat = taps.map((places) => places.map((list) => [Int32Array.from(list, (tap) => tap[0]), Float64Array.from(list, (tap) => tap[1])]));
  const zs = new Float32Array(width), index = (LEVELS - 1), least = clips ? 0 : -Infinity;
  const interpolate = ([offsets, weights], at) => {
    let sum = 0;
    for (let tap = 0; tap < offsets.length; tap++) sum += weights[tap] * noise[at + offsets[tap]];
    return sum;
  };
  return (top, bottom, noisy) => {
    for (let line = top - REACH; line < bottom + REACH; line++) {
      const y = mirrored(line, height), begin = (line - top + REACH) * wide + REACH, keeps = line >= top && line < bottom;
      if (white) zs.set(white.subarray(y * width, (y + 1) * width));
      else fillWhite(zs, seed, y);
      for (let x = 0, from = 4 * y * width, to = 3 * (line - top) * width; x < width; x++, from += 4, to += 3) {
        let r = tables[0][data[from]], g = tables[1][data[from + 1]], b = tables[2][data[from + 2]];
        if (!r || !g || !b) {
          const most = Math.max(r, g, b);
          [r, g, b] = [r || -outside[0] * most, g || -outside[1] * most, b || -outside[2] * most];
        }
        const colour = ((y + red[0]) & 1) + ((x + red[1]) & 1);
        const raw = m[3 * colour] * r + m[3 * colour + 1] * g + m[3 * colour + 2] * b;
        const place = colour * TABLE + Math.round(Math.sqrt(clamp(raw / top255, 0, 1)) * (TABLE - 1)), z = zs[x];
        const grown = Math.exp((Math.log(z + Math.sqrt(z * z + 1)) + skew[place]) * tail[place]);
        noise[begin + x] = clamp(raw + (scale[place] * (grown - 1 / grown)) / 2 + offset[place], 0, top255) - raw;
        if (keeps) {
          colours[to] = m[0] * r + m[1] * g + m[2] * b;
          colours[to + 1] = m[3] * r + m[4] * g + m[5] * b;
          colours[to + 2] = m[6] * r + m[7] * g + m[8] * b;
        }
      }
      for (let x = -REACH; x < 0; x++) noise[begin + x] = noise[begin + mirrored(x, width)];
      for (let x = width; x < width + REACH; x++) noise[begin + x] = noise[begin + mirrored(x, width)];
    }
    for (let y = top; y < bottom; y++) {
      for (let x = 0, from = 3 * (y - top) * width, to = 4 * y * width; x < width; x++, from += 3, to += 4) {
        const at = (y - top + REACH) * wide + REACH + x, place = 2 * ((y + red[0]) & 1) + ((x + red[1]) & 1);
        const r = clamp(colours[from] + interpolate(flat[0][place], at), least, top255);
        const g = clamp(colours[from + 1] + interpolate(flat[1][place], at), least, top255);
        const b = clamp(colours[from + 2] + interpolate(flat[2][place], at), least, top255);
        noisy[to] = levels[Math.round(Math.sqrt(clamp(s[0] * r + s[1] * g + s[2] * b, 0, 1)) * index)];
        noisy[to + 1] = levels[Math.round(Math.sqrt(clamp(s[3] * r + s[4] * g + s[5] * b, 0, 1)) * index)];
        noisy[to + 2] = levels[Math.round(Math.sqrt(clamp(s[6] * r + s[7] * g + s[8] * b, 0, 1)) * index)];
        noisy[to + 3] = 255;
      }
    }
  };
}

/** Measure the noise of each channel: mean, std, autocorrelation, std by clean level, in grey levels, and a histogram. */
function measure({ width, height, data: clean }, noisy) {
  const count = width * height, noise = new Float32Array(count);
  return [0, 1, 2].map((channel) => {
    const histogram = new Float64Array(511), sums = Array.from({ length: LEVEL_BINS }, () => [0, 0, 0]);
    let sum = 0, squares = 0;
    for (let i = 0, at = channel; i < count; i++, at += 4) {
      const value = noisy[at] - clean[at], bin = sums[clean[at] >> 4];
      noise[i] = value;
      histogram[value + 255]++;
      sum += value;
      squares += value * value;
      bin[0]++;
      bin[1] += value;
      bin[2] += value * value;
    }
    const middle = sum / count, variance = squares / count - middle * middle;
    for (let i = 0; i < count; i++) noise[i] -= middle;
    const correlated = (right, down) => {
      let total = 0;
      for (let y = 0; y < height - down; y++) {
        for (let i = y * width, end = i + width - right, step = down * width + right; i < end; i++) total += noise[i] * noise[i + step];
      }
      return variance > 1e-12 ? total / ((width - right) * (height - down)) / variance : 0;
    };
    const lags = Array.from({ length: MAX_LAG }, (_, i) => i + 1);
    return {
      mean: middle,
      std: Math.sqrt(Math.max(variance, 0)),
      rows: lags.map((lag) => correlated(lag, 0)),
      columns: lags.map((lag) => correlated(0, lag)),
      level: sums.map(([n, first, second]) => (n < LEVEL_PIXELS ? null : Math.sqrt(Math.max(second / n - (first / n) ** 2, 0)))),
      histogram,
    };
  });
}

if (typeof module !== "undefined") module.exports = { BAND, isosOf, numbersOf, balanceOf, prepare, measure };

// A worker gets a picture, then what to make of it, as often as the page likes: a newer request ends an older one.
if (typeof WorkerGlobalScope !== "undefined") {
  const rest = () => new Promise((resume) => setTimeout(resume)); // meanwhile newer requests come in
  let picture = null, latest = 0;
  self.onmessage = async ({ data: { id, given, fit, iso, illuminant, seed } }) => {
    latest = id;
    if (given) picture = { ...given, figures: given.real && measure(given, given.real) };
    await rest();
    if (id !== latest) return;
    try {
      const { width, height, data } = picture, noisy = new Uint8ClampedArray(data.length), begun = performance.now();
      const render = prepare(fit, picture, { numbers: numbersOf(fit, iso), balance: balanceOf(fit, illuminant), seed });
      for (let top = 0, rested = begun; top < height; top += BAND) {
        render(top, Math.min(top + BAND, height), noisy);
        if (performance.now() - rested < 100) continue;
        self.postMessage({ id, share: top / height });
        await rest();
        if (id !== latest) return;
        rested = performance.now();
      }
      const seconds = (performance.now() - begun) / 1000, figures = measure(picture, noisy);
      const difference = new Uint8ClampedArray(data.length);
      for (let i = 0; i < data.length; i++) difference[i] = i % 4 === 3 ? 255 : 128 + 4 * (noisy[i] - data[i]);
      self.postMessage({ id, noisy, difference, figures, real: picture.figures, seconds }, [noisy.buffer, difference.buffer]);
    } catch (error) {
      self.postMessage({ id, error: error.message || String(error) });
    }
  };
}
