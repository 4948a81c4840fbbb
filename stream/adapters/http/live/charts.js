/** Drawings: lines with their names beside the ends, a strip below, bars. All in one style, all as wide as a phone. */

import { shape } from "./dom.js";

const WIDTH = 360;
const HEIGHT = 216;
const [LEFT, RIGHT, TOP, BOTTOM, ABOVE_STRIP, BETWEEN] = [38, 80, 10, 24, 76, 18];
const LABEL_GAP = 13.5;
const LINE_HEIGHT = 4;
const MAX_NAME = 18;
const MAX_BARS = 8;

const ink = (role) => `c-${role}`;
const round = (number) => Math.round(number * 10) / 10;

function text(x, y, words, role, anchor = "start", kind = "") {
  return shape(
    "text",
    { x: round(x), y: round(y), "text-anchor": anchor, fill: "currentColor", class: `${ink(role)} ${kind}`.trim() },
    words,
  );
}

function rule(x1, y1, x2, y2, role, width = 1) {
  const ends = { x1: round(x1), y1: round(y1), x2: round(x2), y2: round(y2) };
  return shape("line", { ...ends, stroke: "currentColor", "stroke-width": width, class: ink(role) });
}

function block(x, y, width, height, role) {
  const corner = { x: round(x), y: round(y) };
  return shape("rect", {
    ...corner,
    width: round(Math.max(width, 0)),
    height: round(height),
    fill: "currentColor",
    class: ink(role),
  });
}

/** Return a name as long as fits beside a bar. */
export function shorten(name) {
  const letters = [...name];
  return letters.length <= MAX_NAME ? name : `${letters.slice(0, MAX_NAME - 1).join("")}…`;
}

/** Return the largest entries, each [name, value], the rest as one, which has a role of its own besides. */
export function largest(entries, rest = "others") {
  const order = [...entries].sort((a, b) => b[1] - a[1]);
  if (order.length <= MAX_BARS) return order;
  const others = order.slice(MAX_BARS - 1);
  const sum = others.reduce((total, [, value]) => total + value, 0);
  return [...order.slice(0, MAX_BARS - 1), [`${others.length} ${rest}`, sum, "popularity"]];
}

/** Axes that stand so many pixels from the drawing's edges, with a scale either way. */
class Axes {
  constructor(x, y, { left = LEFT, right = RIGHT, top = TOP, bottom = BOTTOM } = {}) {
    Object.assign(this, { x, y, left, right: WIDTH - right, top, bottom: HEIGHT - bottom });
  }

  across(value) {
    return this.left + this.x.place(value) * (this.right - this.left);
  }

  up(value) {
    return this.bottom - this.y.place(value) * (this.bottom - this.top);
  }

  rules() {
    return this.y.ticks.flatMap(({ at, text: words }) => [
      rule(this.left, this.up(at), this.right, this.up(at), "grid"),
      text(this.left - 6, this.up(at) + LINE_HEIGHT, words, "muted", "end"),
    ]);
  }

  foot() {
    const ends = (i) => (i === 0 ? "start" : "end");
    return this.x.ticks.map(({ at, text: words }, i) =>
      text(this.across(at), this.bottom + 17, words, "muted", this.x.isInward ? ends(i) : "middle"),
    );
  }

  /** Return the runs of points without a gap, in pixels. */
  runs(points) {
    const runs = [[]];
    for (const [x, y] of points) {
      if (y === null || y === undefined) runs.push([]);
      else runs.at(-1).push([round(this.across(x)), round(this.up(y))]);
    }
    return runs.filter((run) => run.length);
  }

  line({ points, role, width = 2, dashes = "" }) {
    const runs = this.runs(points);
    if (!runs.length) return [];
    const path = runs.map((run) => `M${run.join("L")}`).join("");
    const [x, y] = runs.at(-1).at(-1);
    const pen = { fill: "none", stroke: "currentColor", "stroke-width": width, "stroke-dasharray": dashes };
    return [
      shape("path", { d: path, class: ink(role), ...pen }),
      shape("circle", { cx: x, cy: y, r: (3 + width) / 2, fill: "currentColor", class: ink(role) }),
    ];
  }

  /** Return the area between two lines, or between one and zero. */
  area({ points, floor = null, role, opacity = 0.14 }) {
    const base = floor ?? points.map(([x, y]) => [x, y === null ? null : 0]);
    const both = points.map(([x, y], i) => (y === null || base[i][1] === null ? [x, null] : [x, y]));
    const under = base.map(([x, y], i) => (both[i][1] === null ? [x, null] : [x, y]));
    const lower = this.runs(under);
    const path = this.runs(both)
      .map((run, i) => `M${[...run, ...lower[i].reverse()].join("L")}Z`)
      .join("");
    return path ? [shape("path", { d: path, fill: "currentColor", "fill-opacity": opacity, class: ink(role) })] : [];
  }

  /** Return the lines' names beside their ends, moved apart where two would touch. */
  names(lines) {
    const spots = lines
      .map(({ points, name, role }) => ({
        name,
        role,
        last: points.findLast(([, y]) => y !== null && y !== undefined),
      }))
      .filter(({ name, last }) => name && last)
      .map(({ name, role, last }) => ({ name, role, y: this.up(last[1]) }))
      .sort((a, b) => b.y - a.y);
    spots.forEach((spot, i) => {
      if (i) spot.y = Math.min(spot.y, spots[i - 1].y - LABEL_GAP);
    });
    const overshoot = spots.length ? Math.max(0, this.top - spots.at(-1).y) : 0;
    return spots.map(({ name, role, y }) =>
      text(this.right + 8, y + overshoot + LINE_HEIGHT, name, role, "start", "label"),
    );
  }
}

/** Draw lines; under them, if wanted, a strip: a small second plot over the same horizontal scale. */
export function drawLines(svg, { x, y, lines, areas = [], strip = null }) {
  const axes = new Axes(x, y, { bottom: strip ? ABOVE_STRIP : BOTTOM });
  const shapes = [...axes.rules(), ...areas.flatMap((area) => axes.area(area))];
  shapes.push(...lines.flatMap((line) => axes.line(line)), ...axes.names(lines));
  if (strip) {
    const line = { role: "muted", width: 1, ...strip };
    const below = new Axes(x, strip.y, { top: HEIGHT - ABOVE_STRIP + BETWEEN });
    shapes.push(...below.rules(), ...below.area({ opacity: 0.22, ...line }), ...below.line(line));
    shapes.push(...below.names([line]), ...below.foot());
  } else {
    shapes.push(...axes.foot());
  }
  show(svg, shapes);
}

/** Draw horizontal bars, each a name, a value and its text; in steps, where each begins at the end of the one above. */
export function drawBars(svg, { rows, role, whole = null, foot = "" }) {
  const [left, right, pitch] = [124, WIDTH - 72, (HEIGHT - 34) / Math.max(rows.length, 6)];
  const scale = (right - left) / (whole ?? (Math.max(...rows.map((row) => row.value)) || 1));
  let start = 0;
  const shapes = rows.flatMap(({ name, value, text: words, role: own }, i) => {
    const [y, height] = [8 + i * pitch, pitch * 0.62];
    const x = left + start * scale;
    start += whole === null ? 0 : value;
    const track = whole === null ? [] : [block(left, y, right - left, height, "track")];
    const [middle, length] = [y + height / 2 + LINE_HEIGHT, Math.max(value * scale, value ? 1.5 : 0)];
    const end = whole === null ? left + length : right;
    return [
      ...track,
      block(x, y, length, height, own ?? role),
      text(left - 8, middle, shorten(name), "muted", "end"),
      text(end + 8, middle, words, "ink", "start", "label"),
    ];
  });
  if (whole !== null) {
    const bottom = 8 + rows.length * pitch;
    shapes.push(rule(right, 4, right, bottom, "ink", 1.5), text(right, bottom + 15, foot, "ink", "end"));
  }
  show(svg, shapes);
}

/** Draw pairs of upright bars, this run's and popularity's, by group. */
export function drawPairs(svg, { groups, y }) {
  const x = { place: (i) => (i + 0.5) / groups.length, ticks: [] };
  const axes = new Axes(x, y, { right: 6, top: 22, bottom: 40 });
  const width = Math.min(((axes.right - axes.left) / groups.length) * 0.36, 46);
  const shapes = axes.rules();
  groups.forEach(({ name, below, values }, i) => {
    values.forEach(({ value, text: words, role }, j) => {
      const middle = axes.across(i) + (j ? 0.55 : -0.55) * width;
      shapes.push(block(middle - width / 2, axes.up(value ?? 0), width, axes.bottom - axes.up(value ?? 0), role));
      shapes.push(text(middle, axes.up(value ?? 0) - 5, words, role, "middle"));
    });
    shapes.push(text(axes.across(i), axes.bottom + 17, shorten(name), "muted", "middle"));
    shapes.push(text(axes.across(i), axes.bottom + 32, below, "muted", "middle"));
  });
  show(svg, shapes);
}

function show(svg, shapes) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.replaceChildren(...shapes);
}
