/** How good the recommendations are, beside popularity's on the same events; and what the policy does about it. */

import { drawLines, drawPairs } from "./charts.js";
import { NO_WINDOW } from "./figures.js";
import { aroundZero, between, byWindow, fromZero, ofStrip } from "./scales.js";
import { countText, exactText, plural, qualityText, shareText } from "./units.js";

const NOT_TESTED = "Nothing was tested yet.";
const GAPS = { first: "first event", under_1h: "under 1 h", over_1h: "over 1 h" };

const series = (windows, pick) => windows.map((window) => [window.index, pick(window) ?? null]);
const values = (points) => points.map(([, value]) => value);
const isKnown = (points) => points.some(([, value]) => value !== null);
const end = (points) => points.findLast(([, value]) => value !== null)?.[1];

/** Return a table's rows by window, the newest first; a column is points and how to write them. */
const rowsByWindow = (windows, columns) =>
  windows.map(({ index }, i) => [`${index}`, ...columns.map(([points, text]) => text(points[i][1]))]).reverse();

/** Return the plot of one figure of quality beside popularity's, with a strip of something else below. */
function qualityPlot(windows, title, pick, reference, more, strip, text) {
  const [mine, theirs] = [series(windows, (w) => pick(w.quality)), series(windows, (w) => reference(w.quality))];
  if (!isKnown(mine)) return { title, caption: windows.length ? NOT_TESTED : NO_WINDOW };
  const compared = mine.map(([, value], i) => [value, theirs[i][1]]).filter((pair) => !pair.includes(null));
  const ahead = compared.filter(([value, other]) => value > other).length;
  // Only where the model leads is there something between the two to be filled.
  const lead = mine.map(([x, value], i) => [x, value === null ? null : Math.max(value, theirs[i][1] ?? value)]);
  return {
    title,
    caption: `Ahead of popularity in ${ahead} of ${plural(compared.length, "window")}. ${more}`,
    label:
      `${title} by window: the model ends at ${qualityText(end(mine))},` +
      ` popularity at ${qualityText(end(theirs))}.`,
    columns: ["window", "the model", "popularity", strip.name],
    rows: rowsByWindow(windows, [
      [mine, qualityText],
      [theirs, qualityText],
      [strip.points, text],
    ]),
    paint: (svg) =>
      drawLines(svg, {
        x: byWindow(windows),
        y: fromZero(values([...mine, ...theirs])),
        areas: [{ points: lead, floor: theirs, role: "run" }],
        lines: [
          { points: theirs, role: "popularity", name: "popularity", width: 1.5 },
          { points: mine, role: "run", name: "the model", width: 2.25 },
        ],
        strip: { y: ofStrip(values(strip.points), text), ...strip },
      }),
  };
}

export function recallPlot({ status, windows }) {
  const points = series(windows, (window) => window.quality.first_sight_share);
  const more = "Below, the share of events whose item was new: always misses.";
  return qualityPlot(
    windows,
    `Recall@${status?.top_k ?? ""}`,
    (quality) => quality.recall,
    (quality) => quality.popularity_recall,
    more,
    { points, name: "new items" },
    shareText,
  );
}

export function ndcgPlot({ status, windows }) {
  const points = series(windows, (window) => window.counts.drift_alarms);
  const more = "NDCG also asks how high in the list the item stood. Below, the drift alarms.";
  return qualityPlot(
    windows,
    `NDCG@${status?.top_k ?? ""}`,
    (quality) => quality.ndcg,
    (quality) => quality.popularity_ndcg,
    more,
    { points, name: "drift alarms" },
    countText,
  );
}

export function gapPlot({ status, windows }) {
  const title = `Recall@${status?.top_k ?? ""} by time since the last event`;
  const gaps = windows.at(-1)?.quality_by_gap ?? {};
  const groups = Object.entries(gaps).filter(([, quality]) => quality.recall !== null);
  if (!groups.length) return { title, caption: windows.length ? NOT_TESTED : NO_WINDOW };
  const name = (gap) => GAPS[gap] ?? gap;
  const rows = groups.map(([gap, quality]) => [
    name(gap),
    qualityText(quality.recall),
    qualityText(quality.popularity_recall),
    exactText(quality.evaluated),
  ]);
  const bar = (value, role) => ({ value, role, text: value === null ? "" : value.toFixed(3) });
  return {
    title,
    caption:
      "In the last window, of users by how long they had been away: the model on the left, popularity on the right.",
    label: `${title}: ${rows.map(([gap, mine, theirs]) => `${gap} ${mine} against ${theirs}`).join("; ")}.`,
    columns: ["last event", "the model", "popularity", "tests"],
    rows,
    paint: (svg) =>
      drawPairs(svg, {
        y: fromZero(groups.flatMap(([, quality]) => [quality.recall, quality.popularity_recall])),
        groups: groups.map(([gap, quality]) => ({
          name: name(gap),
          below: plural(quality.evaluated, "test"),
          values: [bar(quality.recall, "run"), bar(quality.popularity_recall, "popularity")],
        })),
      }),
  };
}

const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);

/** Return how often the guard stepped in by window; before the first window known, nothing is. */
function tripsByWindow(windows) {
  const totals = windows.map((window) => sum(window.guard_trips));
  return windows.map(({ index }, i) => {
    if (i) return [index, Math.max(0, totals[i] - totals[i - 1])];
    return [index, index ? null : totals[0]];
  });
}

/** A window's reward: the lead over popularity in NDCG. */
const reward = ({ quality }) => (quality.ndcg === null ? null : quality.ndcg - (quality.popularity_ndcg ?? 0));

export function rewardPlot({ status, windows }) {
  const title = "Reward";
  const points = series(windows, reward);
  if (!isKnown(points)) return { title, caption: windows.length ? NOT_TESTED : NO_WINDOW };
  const trips = tripsByWindow(windows);
  const reasons = Object.entries(status.guard_trips).map(([reason, count]) => `${reason} ${countText(count)}`);
  const guarded = reasons.length ? `stepped in for: ${reasons.join(", ")}` : "never stepped in";
  return {
    title,
    caption:
      `What the policy is paid for: the lead over popularity in NDCG. Below, how often its guard stepped in; so far` +
      ` it ${guarded}.`,
    label: `Reward by window, ${qualityText(end(points))} in the last.`,
    columns: ["window", "reward", "guard trips"],
    rows: rowsByWindow(windows, [
      [points, qualityText],
      [trips, countText],
    ]),
    paint: (svg) =>
      drawLines(svg, {
        x: byWindow(windows),
        y: aroundZero(values(points)),
        lines: [{ points, role: "run", name: "reward" }],
        areas: [{ points, role: "run" }],
        strip: { points: trips, name: "guard trips", y: ofStrip(values(trips), countText) },
      }),
  };
}

export function sharePlot({ windows }) {
  const title = "Action: the users' share";
  const points = series(windows, (window) => window.decision.users_share);
  if (!isKnown(points)) return { title, caption: NO_WINDOW };
  const all = points.map(([index]) => [index, 1]);
  return {
    title,
    caption: "Of all words that users and items own, the share that the policy gives to users; items get the rest.",
    label: `Users' share of the words by window, ${shareText(end(points))} in the last.`,
    columns: ["window", "users' share"],
    rows: rowsByWindow(windows, [[points, shareText]]),
    paint: (svg) =>
      drawLines(svg, {
        x: byWindow(windows),
        y: between(0, 1, [0, 0.25, 0.5, 0.75, 1], shareText),
        lines: [
          { points: all, role: "items", name: "items", width: 1 },
          { points, role: "users", name: "users" },
        ],
        areas: [
          { points, role: "users" },
          { points: all, floor: points, role: "items" },
        ],
      }),
  };
}

/** Return a curve of sizes in words: its family, and its shape or its levels by groups of ranks. */
export const curveText = ({ family, shape }) => `${family} ${[shape].flat().map(countText).join(" ")}`;

export function shapePlot({ windows }) {
  const title = "Action: the size curves' shapes";
  if (!windows.length) return { title, caption: NO_WINDOW };
  const shapes = (side) =>
    series(windows, ({ decision }) => (Array.isArray(decision[side].shape) ? null : decision[side].shape));
  const [users, items] = [shapes("users"), shapes("items")];
  const { decision } = windows.at(-1);
  return {
    title,
    caption:
      `In the last window users' sizes follow ${curveText(decision.users)}, items' ${curveText(decision.items)}.` +
      " The higher a power law's shape, the more equal the sizes.",
    label: `Shapes by window; in the last, users ${curveText(decision.users)} and items ${curveText(decision.items)}.`,
    columns: ["window", "users", "items"],
    rows: windows.map(({ index, decision: d }) => [`${index}`, curveText(d.users), curveText(d.items)]).reverse(),
    paint: (svg) =>
      drawLines(svg, {
        x: byWindow(windows),
        y: fromZero(values([...users, ...items])),
        lines: [
          { points: users, role: "users", name: "users" },
          { points: items, role: "items", name: "items" },
        ],
      }),
  };
}
