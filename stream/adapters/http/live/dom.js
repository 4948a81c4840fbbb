/** Elements for the page. Whatever comes from outside enters as text, never as markup. */

/** Return an element with attributes and children; a child that is no node becomes text. */
export function element(tag, attributes = {}, ...children) {
  return furnished(document.createElement(tag), attributes, children);
}

/** Return an element of a drawing, likewise. */
export function shape(tag, attributes = {}, ...children) {
  return furnished(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnished(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Return a few words in a coloured frame; the role is one of the style's, such as good or alarm. */
export function chip(text, role = "") {
  return element("span", { class: `chip ${role}`.trim() }, text);
}

/** Return a paragraph in which the words at odd places stand out: note("seen ", "3", " times"). */
export function note(...words) {
  return element("p", { class: "note" }, ...words.map((word, i) => (i % 2 ? element("b", {}, word) : word)));
}

/** Return a bar filled to a share of its width. */
export function bar(share, role = "") {
  const filled = element("i", role ? { class: role } : {});
  filled.style.width = `${(100 * Math.min(Math.max(share || 0, 0), 1)).toFixed(1)}%`;
  return element("div", { class: "bar" }, filled);
}

/** Return a table; each row's first entry is its heading, and columns of figures stand to the right. */
export function table(columns, rows, caption) {
  const isNumber = columns.map((_, i) => rows.every((row) => /^[-–\d]|^[≤>] /.test(row[i])) && i > 0);
  const cell = (tag, text, i, more = {}) =>
    element(tag, { ...(isNumber[i] ? { class: "number" } : {}), ...more }, text);
  return element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...columns.map((text, i) => cell("th", text, i, { scope: "col" })))),
    element(
      "tbody",
      {},
      ...rows.map((row) =>
        element("tr", {}, ...row.map((text, i) => (i ? cell("td", text, i) : cell("th", text, i, { scope: "row" })))),
      ),
    ),
  );
}
