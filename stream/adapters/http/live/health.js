/** What the service's own checks say, and what has to be said aloud. */

import { NOTHING, exactText, plural } from "./units.js";

/** Return whether every check was passed. */
export const isGood = (answer) => answer !== null && answer.ok;

/** Return the checks of an answer of /live or /ready. */
export const checks = (answer) => answer?.body?.checks ?? [];

/** Return a figure of a check; nothing where it is not known. */
export const figureText = (value) => (value === null ? NOTHING : exactText(Math.round(10 * value) / 10));

/** Return in words what is wrong by an answer of /live or /ready, if wanted with figures; nothing where it is good. */
export function complaints(answer, hasFigures = false) {
  if (isGood(answer)) return [];
  const failed = checks(answer).filter((check) => !check.ok);
  const figures = ({ value, limit, unit }) => ` (${figureText(value)} ${unit}; limit ${figureText(limit)})`;
  if (!failed.length) return [answer?.body?.detail ?? "no reason is given"];
  return failed.map((check) => check.detail + (hasFigures ? figures(check) : ""));
}

/** Tells those who cannot see the page what matters, once each time it changes. */
export class Announcer {
  #region;
  #known = new Map();

  constructor(region) {
    this.#region = region;
  }

  update(service) {
    const news = facts(service).filter(([name, text]) => this.#known.get(name) !== text && this.#known.set(name, text));
    if (news.length) this.#region.textContent = news.map(([, text]) => text).join(" ");
  }
}

function facts({ isGone, heardMs, excuse, status, live, ready }) {
  if (heardMs === null && !isGone) return [];
  if (isGone)
    return [["contact", heardMs === null ? "The service does not answer." : "Contact to the service is lost."]];
  // Without figures, for they change all the time.
  if (excuse || !status) return [["contact", "The service has nothing to tell yet."]];
  const said = (answer, yes, no) => (isGood(answer) ? yes : `${no}: ${complaints(answer).join("; ")}.`);
  const { violations, failed_checkpoints: failed } = status.counts;
  return [
    ["contact", "In contact with the service."],
    ["live", said(live, "It is live.", "It is not live")],
    ["ready", said(ready, "It is ready.", "It is not ready")],
    ["violations", violations ? `The budget was violated: ${plural(violations, "violation")}.` : "The budget is kept."],
    ...(failed ? [["checkpoints", `${plural(failed, "checkpoint")} failed.`]] : []),
  ];
}
