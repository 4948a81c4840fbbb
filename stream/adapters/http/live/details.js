/** What is looked up rather than watched, each a table to unfold. */

import { Fold } from "./figures.js";
import { checks, figureText } from "./health.js";
import { curveText } from "./quality_plots.js";
import {
  NOTHING,
  ageText,
  bytesText,
  countText,
  exactText,
  instantText,
  numberText,
  plural,
  secondsText,
  shareText,
} from "./units.js";

function healthPlan({ live, ready }) {
  const rows = [
    ["live", live],
    ["ready", ready],
  ].flatMap(([name, answer]) =>
    checks(answer).map(({ name: check, ok, detail, value, limit, unit }) => [
      `${name}: ${check}`,
      ok ? "passed" : "failed",
      detail,
      `${figureText(value)} ${unit}`,
      figureText(limit),
    ]),
  );
  const failed = rows.filter((row) => row[1] === "failed").length;
  const columns = ["check", "verdict", "meaning", "figure", "limit"];
  return { title: "What /live and /ready look at", columns, rows, aside: failed ? `${failed} failed` : "all passed" };
}

function countPlan({ status }) {
  const rows = Object.entries(status.counts).map(([name, count]) => [name.replaceAll("_", " "), exactText(count)]);
  return {
    title: "Since the start of the stream",
    columns: ["what", "count"],
    rows,
    aside: plural(status.counts.events, "record"),
  };
}

function fixedPlan({ status }) {
  const total = status.fixed.reduce((sum, line) => sum + line.bytes, 0);
  const rows = [...status.fixed.map(({ name, bytes }) => [name, bytes]), ["sum", total]].map(([name, bytes]) => [
    name,
    exactText(bytes),
    bytesText(bytes),
  ]);
  const title = "What does not grow with users, items or events, beside the budget";
  return { title, columns: ["what", "bytes", "rounded"], rows, aside: bytesText(total) };
}

/** Return the end of the bucket within which a share of all durations lies. */
function within({ bounds_s: bounds, counts }, share) {
  const wanted = share * counts.reduce((total, count) => total + count, 0);
  let sum = 0;
  const bucket = counts.findIndex((count) => (sum += count) >= wanted);
  return bucket < bounds.length ? `≤ ${secondsText(bounds[bucket])}` : `> ${secondsText(bounds.at(-1))}`;
}

function durationPlan({ status }) {
  const rows = Object.entries(status.durations).map(([name, spent]) => {
    const num = spent.counts.reduce((total, count) => total + count, 0);
    if (!num) return [name, "0", NOTHING, NOTHING, NOTHING];
    return [name, exactText(num), secondsText(spent.total_s / num), within(spent, 0.5), within(spent, 0.99)];
  });
  return {
    title: "Since the process started",
    columns: ["activity", "times", "mean", "median", "99%"],
    rows,
  };
}

function guardPlan({ status }) {
  const trips = Object.entries(status.guard_trips);
  const total = trips.reduce((sum, [, count]) => sum + count, 0);
  const rows = trips.length ? trips.map(([reason, count]) => [reason, exactText(count)]) : [["none", "0"]];
  const title = "How often the policy's guard stepped in since the start of the stream";
  return { title, columns: ["reason", "times"], rows, aside: plural(total, "time") };
}

function decisionPlan({ status }) {
  const { users_share: share, users, items } = status.decision;
  const rows = [
    ["users' share of the words", shareText(share)],
    ["users' sizes", curveText(users)],
    ["items' sizes", curveText(items)],
    ["reward of the last window", status.reward === null ? NOTHING : numberText(status.reward)],
  ];
  return { title: "The size decision in force", columns: ["what", "is"], rows };
}

function servicePlan({ status, nowS, silenceS }) {
  const rows = [
    ["source", status.source],
    ["policy", status.policy],
    ["seed", `${status.seed}`],
    ["process started", instantText(1000 * status.started_s)],
    ["up for", ageText(nowS - status.started_s)],
    ["last told", `${ageText(silenceS)} ago`],
    ["windows closed", countText(status.num_windows)],
    ...Object.entries(status.versions).map(([name, version]) => [`version of ${name}`, version]),
  ];
  return { title: "What runs", columns: ["what", "is"], rows, aside: status.versions["scall-stream"] ?? "" };
}

const PLANS = {
  "Health checks": healthPlan,
  Counts: countPlan,
  "Fixed costs": fixedPlan,
  Durations: durationPlan,
  "Guard trips": guardPlan,
  Decision: decisionPlan,
  "Service and versions": servicePlan,
};

/** Put the tables to unfold in a place; return what brings them up to date. */
export function placeDetails(place) {
  let service = null;
  const folds = Object.entries(PLANS).map(
    ([heading, plan]) => new Fold(heading, () => service?.status && plan(service)),
  );
  place.append(...folds.map((fold) => fold.element));
  return (current) => {
    service = current;
    folds.forEach((fold) => fold.update());
  };
}
