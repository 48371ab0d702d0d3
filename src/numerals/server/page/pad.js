// The pad: strokes of a pen on a canvas. Knows nothing about reading.

const TAP = 5; // pixels within which a stroke is a tap
const LONGEST = 480; // pixels of a picture's longer side: finer ones are read no better, and slower

export class Pad {
  // `changed` is called when a stroke has ended, `tapped` with the place of a tap; it says whether it took it.
  constructor(canvas, changed, tapped) {
    this.canvas = canvas;
    this.strokes = [];
    this.width = 9;
    this.changed = changed;
    this.tapped = tapped;
    this.pointer = null;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#up(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  get empty() {
    return this.strokes.length === 0;
  }

  undo() {
    this.strokes.pop();
    this.draw();
    this.changed();
  }

  clear() {
    this.strokes = [];
    this.draw();
    this.changed();
  }

  draw() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    paint(context, this.strokes, getComputedStyle(this.canvas).color);
  }

  // How many pixels of the picture are one of the page's.
  get scale() {
    return Math.min(1, LONGEST / Math.max(this.canvas.clientWidth, this.canvas.clientHeight));
  }

  // The strokes as black ink on white paper.
  picture() {
    const paper = document.createElement("canvas");
    paper.width = Math.round(this.canvas.clientWidth * this.scale);
    paper.height = Math.round(this.canvas.clientHeight * this.scale);
    const context = paper.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, paper.width, paper.height);
    context.scale(this.scale, this.scale);
    paint(context, this.strokes, "#000");
    return paper;
  }

  #place(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  #down(event) {
    if (this.pointer !== null || event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.strokes.push({ width: this.width, points: [this.#place(event)] });
    this.draw();
  }

  #move(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.strokes.at(-1).points.push(this.#place(each));
    this.draw();
  }

  #up(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    const { points } = this.strokes.at(-1);
    const [x, y] = points[0];
    const still = points.every(([a, b]) => Math.hypot(a - x, b - y) < TAP);
    if (still && this.tapped(x, y)) {
      this.strokes.pop();
      this.draw();
      return;
    }
    this.changed();
  }
}

function paint(context, strokes, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineCap = context.lineJoin = "round";
  for (const { width, points } of strokes) {
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length; i += 1) {
      const [x, y] = points[i - 1];
      context.quadraticCurveTo(x, y, (x + points[i][0]) / 2, (y + points[i][1]) / 2);
    }
    context.lineTo(...points.at(-1));
    context.stroke();
  }
}
