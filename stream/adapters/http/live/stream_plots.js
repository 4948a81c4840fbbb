/** What comes in: how fast it is learnt, how much waits, what could not be used. */

import { drawBars, drawLines, largest } from "./charts.js";
import { NOT_YET, rowsOverTime } from "./figures.js";
import { fromZero, ofStrip, untilNow } from "./scales.js";
import { countText, exactText, plural, shareText } from "./units.js";

export function throughputPlot({ status, samples, heardMs }) {
  const title = "Events learnt per second";
  if (!status) return { title, caption: NOT_YET };
  const nowS = heardMs / 1000;
  const [rate, lag] = [samples.of("rate", nowS), samples.of("lag", nowS)];
  const values = (points) => points.map(([, value]) => value);
  return {
    title,
    caption:
      `${countText(status.events_per_second)} events a second lately,` +
      ` and ${exactText(status.counts.learnt)} since the start of the stream.` +
      " Below, the records that wait.",
    label: `${title} over the last minutes: ${countText(status.events_per_second)} now.`,
    columns: ["when", "events/s", "waiting"],
    rows: rowsOverTime([
      [rate, countText],
      [lag, exactText],
    ]),
    paint: (svg) =>
      drawLines(svg, {
        x: untilNow(samples.oldest(nowS)),
        y: fromZero(values(rate), countText),
        lines: [{ points: rate, role: "run", name: `${countText(status.events_per_second)}/s` }],
        areas: [{ points: rate, role: "run" }],
        strip: { points: lag, name: "waiting", y: ofStrip(values(lag), countText) },
      }),
  };
}

export function lagPlot({ status }) {
  const title = "Records waiting, by partition";
  if (!status) return { title, caption: NOT_YET };
  const { partitions } = status;
  if (!partitions.length) return { title, caption: "No partition is assigned." };
  const name = ({ topic, partition }) => `${topic}/${partition}`;
  const entries = largest(
    partitions.map((partition) => [name(partition), partition.lag]),
    "other partitions",
  );
  const total = partitions.reduce((sum, { lag }) => sum + lag, 0);
  return {
    title,
    caption: total
      ? `${plural(total, "record")} in ${plural(partitions.length, "partition")}, the longest waits first.`
      : `Nothing waits in ${plural(partitions.length, "partition")}.`,
    label: `${title}: ${entries.map(([partition, lag]) => `${partition} ${exactText(lag)}`).join(", ")}.`,
    columns: ["partition", "waiting", "next offset"],
    rows: partitions.map((partition) => [name(partition), exactText(partition.lag), exactText(partition.offset)]),
    paint: (svg) =>
      drawBars(svg, {
        role: "run",
        rows: entries.map(([partition, lag, own]) => ({
          name: partition,
          value: lag,
          role: own,
          text: countText(lag),
        })),
      }),
  };
}

export function deadLetterPlot({ status }) {
  const title = "Records that could not be used";
  if (!status) return { title, caption: NOT_YET };
  const { counts, dead_letter_reasons: reasons } = status;
  const late = `${plural(counts.late, "event")} came late, behind the watermark.`;
  const entries = largest(Object.entries(reasons), "other reasons");
  if (!entries.length) return { title, caption: `None. ${late}` };
  return {
    title,
    caption: `${plural(counts.dead_letters, "dead letter")} of ${plural(counts.events, "record")}. ${late}`,
    label: `${title}: ${entries.map(([reason, count]) => `${reason} ${exactText(count)}`).join(", ")}.`,
    columns: ["reason", "dead letters", "of all records"],
    rows: Object.entries(reasons)
      .sort((a, b) => b[1] - a[1])
      .map(([reason, count]) => [reason, exactText(count), shareText(counts.events ? count / counts.events : 0)]),
    paint: (svg) =>
      drawBars(svg, {
        role: "alarm",
        rows: entries.map(([reason, count, own]) => ({
          name: reason,
          value: count,
          role: own,
          text: countText(count),
        })),
      }),
  };
}
