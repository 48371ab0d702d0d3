// The page: what was written or opened is read at once; a digit that is chosen is explained, and corrected.

import { base64Of, request, send } from "./api.js";
import { list } from "./corrections.js";
import { Pad } from "./pad.js";
import { hide, show } from "./panel.js";

const LARGEST = 25e6; // pixels, and below bytes, that the server takes
const MOST_BYTES = 10e6;
const element = (id) => document.getElementById(id);
const pad = new Pad(element("ink"), readPad, tapped);
let page = null; // what was read
let source = null; // the canvas or bitmap that it was read from
let chosen = null; // [row, place] of a digit
let asked = 0; // requests so far: an answer to an older one comes too late

// Reading

function readPad() {
  leavePicture();
  if (pad.empty) {
    asked += 1;
    source = null;
    showPage(null);
    return;
  }
  const started = performance.now();
  source = pad.picture();
  source.toBlob((blob) => read(blob, started, true), "image/png");
}

async function read(blob, started, drawn = false) {
  const number = (asked += 1);
  try {
    const found = await request(`/v1/read?seen=true&drawn=${drawn}`, { method: "POST", body: blob });
    if (number !== asked) return;
    showPage(found);
    const milliseconds = Math.round(performance.now() - started);
    document.body.dataset.milliseconds = milliseconds;
    say(found.rows.length ? `read in ${milliseconds} ms` : "no digits found");
  } catch (error) {
    if (number !== asked) return;
    showPage(null);
    say(error.message);
  }
}

async function openPicture(file) {
  const started = performance.now();
  pad.strokes = [];
  pad.draw();
  showPage(null);
  const bitmap = await createImageBitmap(file).catch(() => null);
  source = bitmap;
  const image = element("picture");
  URL.revokeObjectURL(image.src);
  image.src = bitmap ? URL.createObjectURL(file) : "";
  image.hidden = !bitmap;
  element("pad").classList.toggle("shows", Boolean(bitmap));
  refresh();
  say("reading");
  await read(await bounded(file, bitmap), started);
}

// A picture that the server takes: smaller, where it has too many pixels or bytes.
async function bounded(file, bitmap) {
  if (!bitmap || (file.size <= MOST_BYTES && bitmap.width * bitmap.height <= LARGEST)) return file;
  const share = Math.min(1, 4000 / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * share);
  canvas.height = Math.round(bitmap.height * share);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  source = canvas;
  return new Promise((made) => canvas.toBlob(made, "image/jpeg", 0.92));
}

function leavePicture() {
  element("picture").hidden = true;
  element("pad").classList.remove("shows");
}

function say(words) {
  element("status").textContent = words;
}

// What was read

function showPage(found) {
  page = found;
  chosen = null;
  hide();
  say("");
  refresh();
}

function refresh() {
  const rows = page?.rows ?? [];
  element("text").replaceChildren(...rows.map(line));
  element("boxes").replaceChildren(...rows.flatMap((row, y) => row.digits.map((digit, x) => box(digit, y, x))));
  element("take").hidden = rows.length === 0;
  const nothing = pad.empty && element("picture").hidden;
  element("hint").hidden = !nothing;
  element("undo").disabled = pad.empty;
  element("clear").disabled = nothing;
}

function line(row, y) {
  const part = document.createElement("div");
  part.append(...row.digits.map((digit, x) => digitButton(digit, y, x)));
  return part;
}

function isChosen(y, x) {
  return chosen !== null && chosen[0] === y && chosen[1] === x;
}

function digitButton(digit, y, x) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = digit.digit;
  button.setAttribute("aria-label", `${digit.digit}, ${Math.round(100 * digit.confidence)} % sure`);
  button.setAttribute("aria-pressed", isChosen(y, x));
  button.classList.toggle("doubtful", digit.confidence < 0.8 && !digit.corrected);
  button.classList.toggle("corrected", Boolean(digit.corrected));
  button.addEventListener("click", () => choose(y, x));
  return button;
}

function box({ box: { left, top, width, height }, digit, confidence, corrected }, y, x) {
  const part = document.createElement("div");
  const frame = shownFrame();
  part.className = "box";
  part.classList.toggle("doubtful", confidence < 0.8 && !corrected);
  part.classList.toggle("chosen", isChosen(y, x));
  part.style.left = `${frame.left + left * frame.scale}px`;
  part.style.top = `${frame.top + top * frame.scale}px`;
  part.style.width = `${width * frame.scale}px`;
  part.style.height = `${height * frame.scale}px`;
  part.dataset.digit = digit;
  part.addEventListener("click", () => choose(y, x));
  return part;
}

// Where the picture is on the pad, and how large one of its pixels.
function shownFrame() {
  if (element("picture").hidden) return { left: 0, top: 0, scale: 1 / pad.scale };
  const { clientWidth, clientHeight } = element("pad");
  const scale = Math.min(clientWidth / page.width, clientHeight / page.height);
  return { left: (clientWidth - page.width * scale) / 2, top: (clientHeight - page.height * scale) / 2, scale };
}

function tapped(across, down) {
  const [x, y] = [across * pad.scale, down * pad.scale];
  for (const [i, row] of (page?.rows ?? []).entries()) {
    for (const [j, { box: { left, top, width, height } }] of row.digits.entries()) {
      if (x >= left && x < left + width && y >= top && y < top + height) {
        choose(i, j);
        return true;
      }
    }
  }
  return false;
}

// One digit

function choose(y, x) {
  chosen = [y, x];
  refresh();
  element("text").children[y].children[x].focus({ preventScroll: true });
  show(page.rows[y].digits[x], correct).catch((error) => say(error.message));
}

function step(by) {
  const all = page.rows.flatMap((row, y) => row.digits.map((_, x) => [y, x]));
  const at = all.findIndex(([y, x]) => isChosen(y, x));
  choose(...all[(at + by + all.length) % all.length]);
}

async function correct(right) {
  const row = page.rows[chosen[0]];
  const digit = row.digits[chosen[1]];
  if (digit.digit === right) return;
  const read = digit.read ?? digit.digit;
  try {
    const picture = source ? await base64Of(await cut(digit.box)) : null;
    if (picture === null) throw new Error("This browser cannot show the picture, so the digit cannot be kept.");
    const { id } = await send("/v1/corrections", { picture, digit: right, read, seen: digit.seen });
    if (digit.kept) await request(`/v1/corrections/${digit.kept}`, { method: "DELETE" }).catch(() => null); // was wrong
    digit.kept = id;
  } catch (error) {
    say(error.message);
    return;
  }
  digit.read = read;
  digit.digit = right;
  digit.corrected = true;
  row.text = row.digits.map((each) => each.digit).join("");
  page.text = page.rows.map((each) => each.text).join("\n");
  choose(...chosen);
  say(`kept: it is a ${right}`);
  await list();
}

// The digit with a little paper around it, as PNG.
function cut({ left, top, width, height }) {
  const margin = Math.round(0.15 * Math.max(width, height));
  const scale = source.width / page.width;
  const canvas = document.createElement("canvas");
  const across = width + 2 * margin;
  const down = height + 2 * margin;
  const share = Math.min(1, 400 / (scale * Math.max(across, down)));
  canvas.width = Math.max(1, Math.round(across * scale * share));
  canvas.height = Math.max(1, Math.round(down * scale * share));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const area = [left - margin, top - margin, across, down].map((each) => each * scale);
  context.drawImage(source, ...area, 0, 0, canvas.width, canvas.height);
  return new Promise((made) => canvas.toBlob(made, "image/png"));
}

// Taking it away

function save(content, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function asCsv() {
  const lines = page.rows.map(({ text, confidence, box: { left, top, width, height } }, y) =>
    [y + 1, text, confidence.toFixed(4), left, top, width, height].join(","),
  );
  return ["row,text,confidence,left,top,width,height", ...lines, ""].join("\n");
}

function asJson() {
  return JSON.stringify(page, (key, value) => (["seen", "read", "corrected", "kept"].includes(key) ? undefined : value), 2);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(page.text);
    say("copied");
  } catch {
    getSelection().selectAllChildren(element("text"));
    say("this page may not copy: press Control C");
  }
}

// Buttons, keys, drops

element("undo").addEventListener("click", () => pad.undo());
element("clear").addEventListener("click", clear);
element("pen").addEventListener("input", resizePen);
element("copy").addEventListener("click", copy);
element("csv").addEventListener("click", () => save(asCsv(), "text/csv", "numerals.csv"));
element("json").addEventListener("click", () => save(asJson(), "application/json", "numerals.json"));
for (const [button, input] of [["open", "file"], ["photograph", "camera"]]) {
  element(button).addEventListener("click", () => element(input).click());
  element(input).addEventListener("change", ({ target }) => {
    if (target.files.length) openPicture(target.files[0]);
    target.value = "";
  });
}
addEventListener("resize", refresh);
addEventListener("paste", (event) => take(event, event.clipboardData));
addEventListener("drop", (event) => {
  element("pad").classList.remove("over");
  take(event, event.dataTransfer);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  element("pad").classList.add("over");
});
addEventListener("dragleave", () => element("pad").classList.remove("over"));
addEventListener("keydown", (event) => {
  if (event.target.matches("input, dialog *")) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") pad.empty || pad.undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (/^[0-9]$/.test(event.key) && chosen) correct(Number(event.key));
  else if (event.key === "Delete") clear();
  else if (event.key === "Escape" && chosen) showChosenNone();
  else if (event.key === "ArrowRight" && chosen) step(1);
  else if (event.key === "ArrowLeft" && chosen) step(-1);
  else return;
  event.preventDefault();
});

function clear() {
  source = null;
  leavePicture();
  pad.clear();
}

function showChosenNone() {
  chosen = null;
  hide();
  refresh();
}

function resizePen() {
  pad.width = Number(element("pen").value);
  element("dot").style.width = element("dot").style.height = `${pad.width}px`;
}

function take(event, data) {
  const file = [...(data?.files ?? [])][0];
  if (!file) return;
  event.preventDefault();
  openPicture(file);
}

resizePen();
refresh();
list().catch((error) => say(error.message));
