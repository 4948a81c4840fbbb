/** Figures as people read them, in the report's words: three digits that matter, and a unit. */

/** Stands for a figure that there is not. */
export const NOTHING = "–";

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB"];
const DECIMAL = ["", "k", "M", "B", "T"];

const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

function threeDigits(value) {
  const size = Math.abs(value);
  const text = value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** Return a plain number, as the ticks of an axis show it. */
export const numberText = (value) => `${Number(value.toPrecision(6))}`;

/** Return the divisor and the name of the unit that suits amounts up to so many bytes. */
export function bytesScale(most) {
  let power = 0;
  while (power + 1 < BINARY.length && most >= 1024 ** (power + 1)) power += 1;
  return [1024 ** power, BINARY[power]];
}

/** Return an amount of memory. */
export function bytesText(bytes) {
  if (!isKnown(bytes)) return NOTHING;
  const [divisor, unit] = bytesScale(Math.abs(bytes));
  return `${threeDigits(bytes / divisor)} ${unit}`;
}

/** Return a count, or a rate without its "per second". */
export function countText(count) {
  if (!isKnown(count)) return NOTHING;
  let power = 0;
  for (; power + 1 < DECIMAL.length && Math.abs(count) >= 999.5; power += 1) count /= 1000;
  return threeDigits(count) + DECIMAL[power];
}

/** Return a whole number in full. */
export const exactText = (count) => (isKnown(count) ? count.toLocaleString("en-US") : NOTHING);

/** Return a length of time. */
export function secondsText(seconds) {
  if (!isKnown(seconds)) return NOTHING;
  if (seconds < 0.9995) return `${threeDigits(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${threeDigits(seconds)} s`;
  const whole = Math.round(seconds);
  const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
  if (minutes < 60) return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  const [hours, past] = [Math.floor(minutes / 60), minutes % 60];
  return past ? `${hours} h ${past} min` : `${hours} h`;
}

/** Return for how long something has been so, in days once hours are many. */
export function ageText(seconds) {
  if (!isKnown(seconds)) return NOTHING;
  const whole = Math.max(0, Math.floor(seconds));
  return whole < 172800 ? secondsText(whole).replace("0 ms", "0 s") : `${threeDigits(whole / 86400)} days`;
}

/** Return a share of a whole, as a percentage. */
export const shareText = (share) => (isKnown(share) ? `${threeDigits(100 * share)}%` : NOTHING);

/** Return a quality figure in [0, 1]. */
export const qualityText = (quality) => (isKnown(quality) ? quality.toFixed(4) : NOTHING);

/** Return how many times the reference a value is; null where that says nothing. */
export function ratioText(value, reference) {
  return isKnown(value) && isKnown(reference) && reference ? `${threeDigits(value / reference)}×` : null;
}

/** Return a count and its noun. */
export const plural = (count, noun) => `${countText(count)} ${noun}${count === 1 ? "" : "s"}`;

/** Return an instant, milliseconds since the epoch, as date and time in UTC; nothing where it is no date. */
export function instantText(ms) {
  const date = new Date(ms ?? NaN);
  return Number.isNaN(date.getTime()) ? NOTHING : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
