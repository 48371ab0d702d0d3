// The drawing pad: records pen strokes on a canvas and renders them as a picture for the server.

const TAP_RADIUS = 5; // CSS pixels; a stroke that stays within it is a tap
const MAX_PICTURE_SIDE = 480; // pixels; a larger picture is read more slowly and no better

export class Pad {
  // `onChange` is called when the strokes have changed. `onTap` is called with the position of a tap in CSS pixels and
  // returns whether it handled the tap; if not, the tap is a stroke: a dot.
  constructor(canvas, onChange, onTap) {
    this.canvas = canvas;
    this.strokes = [];
    this.penWidth = 9; // CSS pixels
    this.onChange = onChange;
    this.onTap = onTap;
    this.pointerId = null; // of the pointer that draws
    canvas.addEventListener("pointerdown", (event) => this.#startStroke(event));
    canvas.addEventListener("pointermove", (event) => this.#extendStroke(event));
    canvas.addEventListener("pointerup", (event) => this.#endStroke(event));
    canvas.addEventListener("pointercancel", (event) => this.#endStroke(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  undo() {
    this.strokes.pop();
    this.draw();
    this.onChange();
  }

  clear() {
    this.strokes = [];
    this.draw();
    this.onChange();
  }

  draw() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    drawStrokes(context, this.strokes, getComputedStyle(this.canvas).color);
  }

  // Pixels of the picture per CSS pixel.
  get scale() {
    return Math.min(1, MAX_PICTURE_SIDE / Math.max(this.canvas.clientWidth, this.canvas.clientHeight));
  }

  // Renders the strokes as black ink on white, on a new canvas.
  toPicture() {
    const picture = document.createElement("canvas");
    picture.width = Math.round(this.canvas.clientWidth * this.scale);
    picture.height = Math.round(this.canvas.clientHeight * this.scale);
    const context = picture.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, picture.width, picture.height);
    context.scale(this.scale, this.scale);
    drawStrokes(context, this.strokes, "#000");
    return picture;
  }

  #position(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  #startStroke(event) {
    if (this.pointerId !== null || event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointerId = event.pointerId;
    this.strokes.push({ width: this.penWidth, points: [this.#position(event)] });
    this.draw();
  }

  #extendStroke(event) {
    if (event.pointerId !== this.pointerId) return;
    const coalesced = event.getCoalescedEvents?.() ?? [];
    const { points } = this.strokes.at(-1);
    for (const step of coalesced.length ? coalesced : [event]) points.push(this.#position(step));
    this.draw();
  }

  #endStroke(event) {
    if (event.pointerId !== this.pointerId) return;
    this.pointerId = null;
    const { points } = this.strokes.at(-1);
    const [startX, startY] = points[0];
    const isTap = points.every(([x, y]) => Math.hypot(x - startX, y - startY) < TAP_RADIUS);
    if (isTap && this.onTap(startX, startY)) {
      this.strokes.pop();
      this.draw();
      return;
    }
    this.onChange();
  }
}

function drawStrokes(context, strokes, colour) {
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
