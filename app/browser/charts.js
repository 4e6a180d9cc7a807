/** A table of emotions with a bar, a number and a curve each, which also a screen reader reads. */

/** Make an element: element("p", {className: "hint"}, "text", child). */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A probability in words, which no line break tears. */
export const percent = (value) => `${Math.round(100 * value)}\u00a0%`;

export class Chart {
  /**
   * @param {string[]} labels
   * @param {{now: string, curve: string}} heads of the columns; without curve there is none
   */
  constructor(labels, { now, curve }) {
    const column = (text, scope) => element("th", { scope }, text);
    const heads = [column("emotion", "col"), column(now, "col")];
    if (curve) heads.push(column(curve, "col"));
    const body = element("tbody");
    this.rows = labels.map((label) => {
      const bar = element("i");
      const number = element("data");
      const shown = element("div", {}, element("span", {}, bar), number);
      const row = element("tr", {}, column(label, "row"));
      row.append(element("td", { className: "share" }, shown));
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      if (curve) row.append(element("td", {}, drawing(path)));
      body.append(row);
      return { row, bar, number, path };
    });
    const head = element("thead", {}, element("tr", {}, ...heads));
    this.table = element("table", { className: "chart" }, head, body);
  }

  /** Show a probability per label, or null for silence. */
  show(probabilities) {
    const top = probabilities ? best(probabilities) : -1;
    this.rows.forEach(({ row, bar, number }, n) => {
      row.classList.toggle("top", n === top);
      bar.style.transform = `scaleX(${probabilities?.[n] ?? 0})`;
      number.value = probabilities?.[n] ?? "";
      number.textContent = probabilities ? percent(probabilities[n]) : "–";
    });
  }

  /**
   * Draw the curves of points {timeS, probabilities} between two times; silence interrupts them.
   */
  draw(points, beginS, endS) {
    const x = ({ timeS }) => ((timeS - beginS) / (endS - beginS)).toFixed(4);
    this.rows.forEach(({ path }, n) => {
      const pieces = [[]];
      for (const point of points) {
        if (point.probabilities) pieces.at(-1).push(point);
        else if (pieces.at(-1).length) pieces.push([]);
      }
      const areas = pieces.filter((piece) => piece.length > 1).map((piece) => {
        const line = piece.map((p) => `L${x(p)} ${(1 - p.probabilities[n]).toFixed(4)}`);
        return `M${x(piece[0])} 1${line.join("")}L${x(piece.at(-1))} 1Z`;
      });
      path.setAttribute("d", areas.join(""));
    });
  }
}

/** Position of the largest value. */
export function best(values) {
  return values.indexOf(Math.max(...values));
}

function drawing(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 -0.04 1 1.08");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true"); // its numbers are in tables
  svg.append(path);
  return svg;
}

/** Rows of points {startS, endS, probabilities} as a table that is filled when it is opened. */
export function numbers(labels, points) {
  const box = element("details", { className: "plain" }, element("summary", {}, "Numbers over time"));
  box.addEventListener("toggle", () => {
    if (box.children.length > 1) return;
    const cells = (name, texts) => texts.map((text) => element(name, {}, text));
    const rows = points.map(({ startS, endS, probabilities }) => {
      const shown = probabilities
        ? [labels[best(probabilities)], ...probabilities.map(percent)]
        : ["silence", ...labels.map(() => "")];
      const time = `${startS.toFixed(1)} to ${endS.toFixed(1)}`;
      const head = element("th", { scope: "row" }, time);
      return element("tr", {}, head, ...cells("td", shown));
    });
    const head = element("tr", {}, ...cells("th", ["seconds", "emotion", ...labels]));
    head.querySelectorAll("th").forEach((cell) => (cell.scope = "col"));
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
    const scroll = element("div", { className: "scroll", tabIndex: 0 }, table);
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Numbers over time");
    box.append(scroll);
  });
  return box;
}
