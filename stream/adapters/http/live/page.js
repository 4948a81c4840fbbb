/** The live page: asks the service how it stands every second, and shows it. */

import { placeDetails } from "./details.js";
import { chip, element } from "./dom.js";
import { Figure, write } from "./figures.js";
import { Announcer, isGood } from "./health.js";
import { entityPlot, itemSizePlot, ledgerPlot, residentPlot, usePlot, userSizePlot } from "./memory_plots.js";
import { gapPlot, ndcgPlot, recallPlot, rewardPlot, shapePlot, sharePlot } from "./quality_plots.js";
import { Service } from "./service.js";
import { deadLetterPlot, lagPlot, throughputPlot } from "./stream_plots.js";
import { showTiles } from "./tiles.js";
import { ageText, plural } from "./units.js";

const PERIOD_MS = 1000;
const SILENT_S = 5;
const SECTIONS = {
  memory: [ledgerPlot, usePlot, residentPlot],
  sizes: [userSizePlot, itemSizePlot, entityPlot],
  quality: [recallPlot, ndcgPlot, gapPlot],
  policy: [rewardPlot, sharePlot, shapePlot],
  stream: [throughputPlot, lagPlot, deadLetterPlot],
};

const at = (id) => document.getElementById(id);
const service = new Service();
const announcer = new Announcer(at("announcement"));
const updateDetails = placeDetails(at("details"));
const figures = Object.entries(SECTIONS).flatMap(([id, plots]) =>
  plots.map((plot) => {
    const figure = new Figure(plot);
    at(id).append(figure.element);
    return figure;
  }),
);

/** Return what stands between the reader and figures of now; empty where nothing does. */
function notice({ isGone, heardMs, quietS, excuse, silenceS }) {
  if (isGone && heardMs === null) return "The service does not answer. This page goes on asking.";
  if (heardMs === null) return "";
  if (isGone) {
    const since = new Date(heardMs).toLocaleTimeString("en-GB");
    const lost = `Nothing heard from the service since ${since}, ${ageText(quietS)} ago.`;
    return `${lost} What is shown is from then; this page goes on asking.`;
  }
  if (excuse) return `The service has nothing to tell yet: ${excuse}`;
  if (silenceS > SILENT_S)
    return `The learning process has told nothing for ${ageText(silenceS)}. What is shown is from then.`;
  return "";
}

function showHeader({ status, live, ready, isGone }) {
  const text = notice(service);
  at("notice").hidden = !text;
  write(at("notice"), text);
  document.body.classList.toggle("stale", Boolean(text));
  if (!status) return;
  write(at("source"), status.source);
  write(
    at("facts"),
    [
      `policy ${status.policy}`,
      `seed ${status.seed}`,
      plural(status.num_windows, "window"),
      `up for ${ageText(status.written_s - status.started_s)}`,
    ].join(" · "),
  );
  const { violations, drift_alarms: alarms } = status.counts;
  const health = isGood(live)
    ? isGood(ready)
      ? chip("live and ready", "good")
      : chip("live, not ready", "alarm")
    : chip("not live", "alarm");
  const chips = [
    isGone ? chip("no contact", "alarm") : health,
    violations ? chip(plural(violations, "budget violation"), "alarm") : chip("budget kept", "good"),
    ...(alarms ? [chip(plural(alarms, "drift alarm"))] : []),
  ];
  const made = element("div", { class: "chips", id: "chips" }, ...chips);
  if (!at("chips").isEqualNode(made)) at("chips").replaceWith(made);
  const mark = chips.some((shown) => shown.classList.contains("alarm")) ? "(!) " : "";
  document.title = `${mark}${status.source} · scall-stream`;
}

function show() {
  showHeader(service);
  announcer.update(service);
  if (document.hidden) return;
  if (service.status) showTiles(at("tiles"), service);
  figures.forEach((figure) => figure.update(service));
  if (service.status) updateDetails(service);
}

async function watch() {
  for (;;) {
    const rest = new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
    try {
      await service.refresh();
      if (service.hasNewPage) window.location.reload();
      show();
    } catch (error) {
      // An answer that this page does not understand must not end it: the next may be better.
      console.error(error);
      at("notice").hidden = false;
      write(at("notice"), `This page does not understand what the service says (${error.message}). Load it anew.`);
    }
    await rest;
  }
}

document.addEventListener("visibilitychange", show);
show();
watch();
