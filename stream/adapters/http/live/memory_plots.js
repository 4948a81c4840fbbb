/** Where the bytes are, and who owns them. */

import { drawBars, drawLines, largest } from "./charts.js";
import { NOT_YET, NO_WINDOW, rowsOverTime } from "./figures.js";
import { byRank, byWindow, fromZero, octaves, ofStrip, untilNow } from "./scales.js";
import { bytesScale, bytesText, countText, exactText, plural, shareText } from "./units.js";

export function ledgerPlot({ status }) {
  const title = "The budget, array by array";
  const total = status?.ledger.reduce((sum, line) => sum + line.bytes, 0);
  if (!total) return { title, caption: NOT_YET };
  const entries = largest(
    status.ledger.map(({ name, bytes }) => [name, bytes]),
    "other arrays",
  );
  const rows = entries.map(([name, value, role]) => ({ name, value, role, text: bytesText(value) }));
  const since = status.counts.budget_changes ? "when the budget was last changed" : "at start-up";
  return {
    title,
    caption:
      `Allocated once, ${since}: ${bytesText(total)} of ${bytesText(status.budget_bytes)}.` +
      " Each bar starts where the one above it ends.",
    label: `Bytes of the budget by array: ${entries.map(([name, value]) => `${name} ${bytesText(value)}`).join(", ")}.`,
    columns: ["array", "bytes", "of the budget"],
    rows: [
      ...status.ledger.map(({ name, bytes }) => [name, bytes]),
      ["sum", total],
      ["budget", status.budget_bytes],
    ].map(([name, bytes]) => [name, exactText(bytes), shareText(bytes / status.budget_bytes)]),
    paint: (svg) =>
      drawBars(svg, {
        rows,
        role: "run",
        whole: Math.max(status.budget_bytes, total),
        foot: `budget ${bytesText(status.budget_bytes)}`,
      }),
  };
}

/** Return a plot of sampled amounts of bytes; each line is a sample's name, the name shown, a role and a width. */
function bytesPlot({ samples }, nowS, name, caption, lines, area) {
  const most = lines.flatMap(([figure]) => samples.of(figure, nowS).map(([, bytes]) => bytes ?? 0));
  const [divisor, unit] = bytesScale(Math.max(...most));
  const scaled = (figure) =>
    samples.of(figure, nowS).map(([at, bytes]) => [at, bytes === null ? null : bytes / divisor]);
  const drawn = lines.map(([figure, shown, role, width]) => ({ points: scaled(figure), name: shown, role, width }));
  const last = lines.map(([figure, shown]) => `${shown} ${bytesText(samples.of(figure, nowS).at(-1)[1])}`);
  return {
    title: `${name}, ${unit}`,
    caption,
    label: `${name} over the last minutes; now ${last.join(", ")}.`,
    columns: ["when", ...lines.map(([, shown]) => shown)],
    rows: rowsOverTime(lines.map(([figure]) => [samples.of(figure, nowS), bytesText])),
    paint: (svg) =>
      drawLines(svg, {
        x: untilNow(samples.oldest(nowS)),
        y: fromZero(drawn.flatMap(({ points }) => points.map(([, value]) => value))),
        lines: drawn,
        areas: [{ points: scaled(area), role: "run" }],
      }),
  };
}

export function usePlot(service) {
  const { status } = service;
  const title = "Bytes against the budget";
  if (!status) return { title, caption: NOT_YET };
  const used = shareText(status.arena_used_words / status.arena_words);
  const caption =
    `Embeddings and histories live in the arena; ${used} of its words are owned now.` +
    ` The most the ledger came to under this budget: ${bytesText(status.peak_bytes)}.`;
  const lines = [
    ["budget", "budget", "ink", 1.5],
    ["ledger", "all arrays", "muted", 1],
    ["arena", "arena", "popularity", 1.5],
    ["used", "in use", "run"],
  ];
  return bytesPlot(service, service.heardMs / 1000, title, caption, lines, "used");
}

export function residentPlot(service) {
  const { status } = service;
  const title = "Resident memory";
  if (!status) return { title, caption: NOT_YET };
  const fixed = bytesText(status.fixed.reduce((sum, line) => sum + line.bytes, 0));
  const caption =
    `Of the learning process; ${bytesText(status.peak_resident_bytes)} at its peak. Libraries, compiled code` +
    ` and what does not grow (${fixed}) come on top of the budget.`;
  const lines = [
    ["resident", "resident", "ink"],
    ["budget", "budget", "run", 1],
  ];
  return bytesPlot(service, service.heardMs / 1000, title, caption, lines, "budget");
}

/** Return the plot of one side: sizes by rank, and frequencies below. */
function sizePlot(title, role, side, noun) {
  if (!side?.size_by_rank.length) return { title, caption: NOT_YET };
  const num = side.size_by_rank.length;
  const rank = (i) => (num > 1 ? i / (num - 1) : 0.5);
  const points = side.size_by_rank.map((size, i) => [rank(i), size]);
  const below = side.frequency_by_rank.map((frequency, i) => [rank(i), Math.log2(1 + frequency)]);
  const { quantiles, mean } = side.sizes;
  const group = (i) => `${shareText(i / num)} to ${shareText((i + 1) / num)}`;
  const events = (height) => countText(2 ** height - 1);
  return {
    title,
    caption:
      `Words that each ${noun} owns by rank: mean ${countText(mean)}, median ${exactText(quantiles.p50)},` +
      ` largest ${exactText(quantiles.max)}. Below, how frequent they are lately, in events;` +
      " both scales are logarithmic.",
    label:
      `${title} by rank: from ${countText(side.size_by_rank[0])} words for the most frequent` +
      ` to ${countText(side.size_by_rank.at(-1))} for the least.`,
    columns: ["ranks", "words", "events"],
    rows: side.size_by_rank.map((size, i) => [group(i), countText(size), countText(side.frequency_by_rank[i])]),
    paint: (svg) => {
      const top = Math.max(1, ...below.map(([, height]) => height));
      const y = { place: (height) => height / (top * 1.06), ticks: [0, top].map((at) => ({ at, text: events(at) })) };
      drawLines(svg, {
        x: byRank(),
        y: octaves(side.size_by_rank),
        lines: [{ points, role, name: "size", width: 2.25 }],
        areas: [{ points, role }],
        strip: { points: below, name: "frequency", y },
      });
    },
  };
}

export const userSizePlot = ({ sides }) => sizePlot("Users' sizes", "users", sides?.users, "user");
export const itemSizePlot = ({ sides }) => sizePlot("Items' sizes", "items", sides?.items, "item");

export function entityPlot({ status, windows }) {
  const title = "Users and items held";
  if (!windows.length) return { title, caption: NO_WINDOW };
  const series = (pick) => windows.map((window) => [window.index, pick(window)]);
  const [users, items] = [series((window) => window.num_users), series((window) => window.num_items)];
  const evictions = series((window) => window.counts.evictions);
  const { counts } = status;
  return {
    title,
    caption:
      `${plural(counts.evictions, "eviction")} made room for newcomers:` +
      ` ${plural(counts.evicted_users, "user")}, ${plural(counts.evicted_items, "item")}.`,
    label: `Users and items held by window: ${status.num_users} users and ${status.num_items} items now.`,
    columns: ["window", "users", "items", "evictions"],
    rows: windows
      .map(({ index, num_users: u, num_items: i, counts: c }) => [
        `${index}`,
        exactText(u),
        exactText(i),
        exactText(c.evictions),
      ])
      .reverse(),
    paint: (svg) =>
      drawLines(svg, {
        x: byWindow(windows),
        y: fromZero(
          [...users, ...items].map(([, value]) => value),
          countText,
        ),
        lines: [
          { points: users, role: "users", name: "users" },
          { points: items, role: "items", name: "items" },
        ],
        strip: {
          points: evictions,
          name: "evictions",
          y: ofStrip(
            evictions.map(([, n]) => n),
            countText,
          ),
        },
      }),
  };
}
