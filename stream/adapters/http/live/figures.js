/** A figure: heading, drawing, sentence, and the same figures as a table to unfold. */

import { element, shape, table } from "./dom.js";
import { ageText } from "./units.js";

export const NOT_YET = "Nothing is known yet.";
export const NO_WINDOW = "No window was closed yet.";
const NUM_ROWS = 20;

/**
 * Shows what a function makes of the service. That function returns a plot: its title, its caption, and where there is
 * something to draw `label` (the drawing in words), `columns` and `rows` (as a table) and `paint` (draws into an SVG).
 */
export class Figure {
  #describe;
  #plot = null;
  #heading = element("h3");
  #svg = shape("svg", { role: "img" });
  #caption = element("figcaption");
  #fold;

  constructor(describe) {
    this.#describe = describe;
    this.#fold = new Fold("As a table", () => this.#plot);
    this.element = element("figure", {}, this.#heading, this.#svg, this.#caption, this.#fold.element);
  }

  update(service) {
    const plot = this.#describe(service);
    this.#plot = plot;
    write(this.#heading, plot.title);
    write(this.#caption, plot.caption);
    this.#svg.toggleAttribute("hidden", !plot.paint);
    this.#fold.element.hidden = !plot.paint;
    if (!plot.paint) return;
    this.#svg.setAttribute("aria-label", plot.label);
    plot.paint(this.#svg);
    this.#fold.update();
  }
}

/** A table to unfold; it is written only while it is to be seen. */
export class Fold {
  #plan;
  #shown = "";
  #aside = element("small");
  #body;

  constructor(heading, plan) {
    this.#plan = plan;
    // It can be scrolled, and so has to be reached by keyboard.
    this.#body = element("div", { tabindex: "0", role: "region", "aria-label": heading });
    this.element = element("details", {}, element("summary", {}, `${heading} `, this.#aside), this.#body);
    this.element.addEventListener("toggle", () => this.update());
  }

  update() {
    const plan = this.#plan();
    if (!plan) return;
    write(this.#aside, plan.aside ?? "");
    if (!this.element.open) return;
    const { title, columns, rows } = plan;
    const text = JSON.stringify([title, columns, rows]);
    // What somebody reads or has marked stays where it is while nothing changes.
    if (text === this.#shown) return;
    this.#shown = text;
    this.#body.setAttribute("aria-label", title);
    this.#body.replaceChildren(table(columns, rows, title));
  }
}

/** Return the rows of a table over time, the newest first and not endless; a column is points and how to write them. */
export function rowsOverTime(columns) {
  const moments = columns[0][0].map(([at], i) => [at, i]);
  const step = Math.ceil(moments.length / NUM_ROWS);
  const shown = moments.reverse().filter((_, n) => n % step === 0);
  return shown.map(([at, i]) => [
    at > -0.5 ? "now" : `${ageText(Math.round(-at))} ago`,
    ...columns.map(([points, text]) => text(points[i][1])),
  ]);
}

/** Write text into an element, only where it differs. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
