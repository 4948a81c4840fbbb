/** Scales of the drawings: where a value stands, from 0 to 1, and the ticks that say so. */

import { numberText } from "./units.js";

const STEPS = [1, 2, 2.5, 5, 10];

/** Return round values about `count` to the span, from at or below `low` to at or below `high`. */
function roundValues(low, high, count) {
  const raw = (high - low) / count || 1;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = size * STEPS.find((candidate) => candidate * size >= raw * 0.999);
  const values = [];
  for (let n = Math.floor(low / step + 1e-9); n * step <= high * (high > 0 ? 1.0001 : 1) + 1e-12; n += 1) {
    values.push(Number((n * step).toPrecision(12)));
  }
  return values;
}

function linear(low, high, ticks) {
  return { place: (value) => (value - low) / (high - low), ticks };
}

/** Return the largest of some numbers, nothing among them counting as 0. */
export const peak = (values) => values.reduce((most, value) => Math.max(most, value ?? 0), 0);

/** Return a vertical scale from zero to a little over the largest value. */
export function fromZero(values, text = numberText) {
  const top = peak(values) || 1;
  const ticks = roundValues(0, top * 1.06, 4);
  return linear(
    0,
    Math.max(ticks.at(-1), top * 1.06),
    ticks.map((at) => ({ at, text: text(at) })),
  );
}

/** Return a vertical scale for a strip: from zero, with one round tick at or below the largest value. */
export function ofStrip(values, text = numberText) {
  const top = peak(values) || 1;
  const size = 10 ** Math.floor(Math.log10(top));
  const tick = Number((size * STEPS.findLast((step) => step * size <= top * 1.001)).toPrecision(12));
  return linear(
    0,
    top * 1.06,
    [0, tick].map((at) => ({ at, text: text(at) })),
  );
}

/** Return a vertical scale that holds zero and every value, of either sign. */
export function aroundZero(values, text = numberText) {
  const known = values.filter((value) => value !== null);
  const [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
  const span = high - low || 1;
  const [bottom, top] = [low - (low < 0 ? 0.06 * span : 0), high + 0.06 * span || 1];
  const ticks = roundValues(bottom, top, 4).filter((at) => at >= bottom);
  return linear(
    bottom,
    top,
    ticks.map((at) => ({ at, text: text(at) })),
  );
}

/** Return a vertical scale of fixed ends. */
export const between = (low, high, ticks, text) =>
  linear(
    low,
    high,
    ticks.map((at) => ({ at, text: text(at) })),
  );

/** Return a vertical scale by powers of two that also has a place for 0. */
export function octaves(values) {
  const top = Math.max(1, Math.ceil(Math.log2(1 + peak(values))));
  const place = (value) => Math.log2(1 + value) / (top * 1.03);
  const powers = [...Array(top + 1).keys()].filter((power) => top <= 5 || power % 2 === 0);
  return { place, ticks: [0, ...powers.map((power) => 2 ** power)].map((at) => ({ at, text: `${at}` })) };
}

/** Return a horizontal scale over window numbers. */
export function byWindow(windows) {
  const [first, last] = windows.length ? [windows[0].index, windows.at(-1).index] : [0, 0];
  const margin = last - first < 2 ? 0.5 : (last - first) * 0.015;
  const ticks = roundValues(first, last, 5).filter((at) => Number.isInteger(at) && at >= first && at <= last);
  return linear(
    first - margin,
    last + margin,
    ticks.map((at, i) => ({ at, text: i ? `${at}` : `window ${at}` })),
  );
}

/** Return a horizontal scale over the time up to now, in seconds; as long as there is something to show. */
export function untilNow(oldest) {
  const span = [60, 120, 300, 600].find((seconds) => -oldest <= seconds) ?? 600;
  const text = (at) => (at === 0 ? "now" : at > -120 ? `−${-at} s` : `−${numberText(-at / 60)} min`);
  const ticks = [-span, -span / 2, 0].map((at) => ({ at, text: text(at) }));
  return linear(-span, 0, ticks);
}

/** Return a horizontal scale over ranks, the most frequent at 0 and the least at 1. */
export const byRank = () => ({
  ...linear(0, 1, [
    { at: 0, text: "most frequent" },
    { at: 1, text: "least" },
  ]),
  isInward: true,
});
