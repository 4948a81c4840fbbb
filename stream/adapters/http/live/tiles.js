/** The headline figures: each tile a heading, one large figure and a few words. */

import { bar, chip, element, note } from "./dom.js";
import { complaints, isGood } from "./health.js";
import {
  NOTHING,
  ageText,
  bytesText,
  countText,
  instantText,
  plural,
  qualityText,
  ratioText,
  secondsText,
  shareText,
} from "./units.js";

/** Return a tile: its heading, what is large in it, and what stands below. */
function tile(heading, big, ...below) {
  const large = element("div", { class: "big" }, ...big.flatMap((part) => [part, " "]));
  return element("div", { class: "tile" }, element("h2", {}, heading), large, ...below.filter(Boolean));
}

const of = (text) => element("span", { class: "of" }, text);
const pair = (count, noun) => element("span", { class: "pair" }, `${countText(count)} `, of(noun));

function healthTile({ live, ready, isGone, quietS }) {
  const verdict = (answer, yes, no) => chip(...(isGood(answer) ? [yes, "good"] : [no, "alarm"]));
  if (isGone || !live || !ready) return tile("Health", [NOTHING], note(`Nothing heard for ${ageText(quietS)}.`));
  // What is asked for life is asked for readiness as well.
  const reasons = new Set([...complaints(live, true), ...complaints(ready, true)]);
  const word = isGood(live) ? (isGood(ready) ? "Ready" : "Not ready") : "Stuck";
  return tile(
    "Health",
    [word],
    element("div", { class: "chips" }, verdict(live, "live", "not live"), verdict(ready, "ready", "not ready")),
    reasons.size
      ? element("ul", { class: "reasons" }, ...[...reasons].map((text) => element("li", {}, text)))
      : note("Every check is passed."),
  );
}

function memoryTile({ status }) {
  const { budget_bytes: budget, peak_bytes: peak, counts, ledger } = status;
  const bytes = ledger.reduce((sum, line) => sum + line.bytes, 0);
  const role = counts.violations ? "alarm" : "";
  return tile(
    "Memory under the budget",
    [bytesText(bytes), of(`of ${bytesText(budget)}`)],
    bar(bytes / budget, role),
    element("div", {}, chip(plural(counts.violations, "violation"), role || "good")),
    note("", shareText(peak / budget), " of the budget at its peak · resident ", bytesText(status.resident_bytes)),
  );
}

function qualityTile({ status }) {
  const { quality, top_k: k, hit_rate: lately } = status;
  if (!quality || quality.recall === null) {
    return tile(`Recall@${k}`, [NOTHING], note("lately ", qualityText(lately), " · no window was tested yet"));
  }
  const ratio = ratioText(quality.recall, quality.popularity_recall);
  const most = Math.max(quality.recall, quality.popularity_recall ?? 0) || 1;
  const rows = [
    ["the model", quality.recall, ""],
    ["popularity", quality.popularity_recall, "popularity"],
  ];
  const bars = rows.flatMap(([name, value, role]) => [
    element("span", {}, name),
    bar(value / most, role),
    element("span", {}, qualityText(value)),
  ]);
  return tile(
    `Recall@${k} in the last window`,
    [qualityText(quality.recall), ...(ratio ? [chip(`${ratio} popularity`, "run")] : [])],
    element("div", { class: "bars" }, ...bars),
    note(`NDCG@${k} `, qualityText(quality.ndcg), " · recall lately ", qualityText(lately)),
  );
}

function throughputTile({ status }) {
  const { counts } = status;
  return tile(
    "Events learnt",
    [countText(status.events_per_second), of("a second")],
    note("", countText(counts.learnt), " learnt of ", countText(counts.events), " records read"),
    note("last event of ", instantText(status.watermark_ms)),
    counts.duplicates ? note("", plural(counts.duplicates, "duplicate"), " dropped") : null,
    counts.lost ? note("", plural(counts.lost, "record"), " lost before they were read") : null,
  );
}

function lagTile({ status }) {
  const { partitions } = status;
  const lag = partitions.reduce((sum, partition) => sum + partition.lag, 0);
  const worst = partitions.reduce((most, partition) => (partition.lag > (most?.lag ?? 0) ? partition : most), null);
  const rate = status.events_per_second;
  return tile(
    "Records waiting",
    [countText(lag)],
    partitions.length
      ? note("in ", plural(partitions.length, "partition"), " assigned")
      : chip("no partition assigned", "alarm"),
    worst ? note("most in ", `${worst.topic}/${worst.partition}`, ": ", countText(worst.lag)) : null,
    lag && rate > 0 ? note("about ", secondsText(lag / rate), " of learning at this rate") : null,
  );
}

function entityTile({ status }) {
  const { counts } = status;
  const split = `: ${plural(counts.evicted_users, "user")}, ${plural(counts.evicted_items, "item")}`;
  return tile(
    "Users and items held",
    [pair(status.num_users, "users"), pair(status.num_items, "items")],
    note("", plural(counts.evictions, "eviction"), counts.evictions ? split : ""),
    note("", plural(counts.drift_alarms, "drift alarm"), " · ", plural(status.num_windows, "window"), " closed"),
  );
}

function deadLetterTile({ status }) {
  const { counts, dead_letter_reasons: reasons } = status;
  const share = counts.events ? counts.dead_letters / counts.events : 0;
  const [most] = Object.entries(reasons).sort((a, b) => b[1] - a[1]);
  return tile(
    "Dead letters",
    [countText(counts.dead_letters), of(`${shareText(share)} of the records`)],
    most ? note("most: ", most[0], ", ", countText(most[1])) : note("Every record could be used."),
    note("", plural(counts.late, "late event")),
  );
}

function checkpointTile({ status, nowS }) {
  const { checkpoint, counts } = status;
  const failed = counts.failed_checkpoints;
  const trouble = failed ? element("div", {}, chip(`${failed} failed`, "alarm")) : null;
  if (!checkpoint) return tile("Last checkpoint", [NOTHING], trouble, note("None is durable yet."));
  return tile(
    "Last checkpoint",
    [ageText(nowS - checkpoint.at_s), of("ago")],
    trouble,
    note("", bytesText(checkpoint.bytes), ` · ${instantText(1000 * checkpoint.at_s)}`),
  );
}

const TILES = [
  healthTile,
  memoryTile,
  qualityTile,
  throughputTile,
  lagTile,
  entityTile,
  deadLetterTile,
  checkpointTile,
];

/** Show the tiles in a place, each written anew only where it says something else. */
export function showTiles(place, service) {
  TILES.map((make) => make(service)).forEach((made, i) => {
    const shown = place.children[i];
    if (!shown) place.append(made);
    else if (!shown.isEqualNode(made)) shown.replaceWith(made);
  });
}
