// The web page: reads what you write or open at once; explains the digit that you select, and saves corrections.

import { encodeBase64, postJson, request } from "./api.js";
import { listCorrections } from "./corrections.js";
import { Pad } from "./pad.js";
import { hidePanel, showPanel } from "./panel.js";

const MAX_PIXELS = 25e6; // the server's limits, as in settings.py
const MAX_BYTES = 10e6;
const REDUCED_SIDE = 4000; // pixels, of a picture that is over these limits
const MAX_CORRECTION_SIDE = 400; // pixels, of the picture of one digit
const DOUBTFUL = 0.8; // digits with a lower confidence are marked
const CORRECTION_FIELDS = ["seen", "originalDigit", "correctionId"]; // of a digit; not part of the JSON download
const element = (id) => document.getElementById(id);
const pad = new Pad(element("ink"), readPad, handleTap);
let page = null; // the server's response
let source = null; // the canvas or bitmap that was read
let selected = null; // { row, column } of a digit
let latestRequest = 0; // ignore responses to older requests

// Reading

function readPad() {
  hidePicture();
  if (pad.isEmpty) {
    latestRequest += 1;
    source = null;
    showPage(null);
    return;
  }
  const startTime = performance.now();
  source = pad.toPicture();
  source.toBlob((blob) => read(blob, startTime, true), "image/png");
}

async function read(blob, startTime, isDrawing = false) {
  const requestNumber = (latestRequest += 1);
  try {
    const response = await request(`/v1/read?seen=true&drawn=${isDrawing}`, { method: "POST", body: blob });
    if (requestNumber !== latestRequest) return;
    showPage(response);
    const milliseconds = Math.round(performance.now() - startTime);
    document.body.dataset.milliseconds = milliseconds;
    showStatus(response.rows.length ? `Read in ${milliseconds} ms` : "No digits found");
  } catch (error) {
    if (requestNumber !== latestRequest) return;
    showPage(null);
    showStatus(error.message);
  }
}

async function openPicture(file) {
  const startTime = performance.now();
  pad.strokes = [];
  pad.draw();
  showPage(null);
  const bitmap = await createImageBitmap(file).catch(() => null); // null: a format that this browser cannot display
  source = bitmap;
  const image = element("picture");
  URL.revokeObjectURL(image.src);
  image.src = bitmap ? URL.createObjectURL(file) : "";
  image.hidden = !bitmap;
  element("pad").classList.toggle("has-picture", Boolean(bitmap));
  refresh();
  showStatus("Reading…");
  await read(await reduceToLimits(file, bitmap), startTime);
}

// Scales a picture down if the server would reject it for its size.
async function reduceToLimits(file, bitmap) {
  if (!bitmap || (file.size <= MAX_BYTES && bitmap.width * bitmap.height <= MAX_PIXELS)) return file;
  const scale = Math.min(1, REDUCED_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  source = canvas;
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

function hidePicture() {
  element("picture").hidden = true;
  element("pad").classList.remove("has-picture");
}

function showStatus(text) {
  element("status").textContent = text;
}

// The result: text, and boxes over the digits

function showPage(response) {
  page = response;
  selected = null;
  hidePanel();
  showStatus("");
  refresh();
}

function refresh() {
  const rows = page?.rows ?? [];
  element("text").replaceChildren(...rows.map(textLine));
  element("boxes").replaceChildren(
    ...rows.flatMap(({ digits }, row) => digits.map((digit, column) => digitBox(digit, row, column))),
  );
  element("export").hidden = rows.length === 0;
  const isBlank = pad.isEmpty && element("picture").hidden;
  element("hint").hidden = !isBlank;
  element("undo").disabled = pad.isEmpty;
  element("clear").disabled = isBlank;
}

function textLine({ digits }, row) {
  const line = document.createElement("div");
  line.append(...digits.map((digit, column) => digitButton(digit, row, column)));
  return line;
}

function isSelected(row, column) {
  return selected !== null && selected.row === row && selected.column === column;
}

function isCorrected(digit) {
  return digit.originalDigit !== undefined;
}

function isDoubtful(digit) {
  return digit.confidence < DOUBTFUL && !isCorrected(digit);
}

function digitButton(digit, row, column) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = digit.digit;
  button.setAttribute("aria-label", `${digit.digit}, ${Math.round(100 * digit.confidence)}% confidence`);
  button.setAttribute("aria-pressed", isSelected(row, column));
  button.classList.toggle("doubtful", isDoubtful(digit));
  button.classList.toggle("corrected", isCorrected(digit));
  button.addEventListener("click", () => select(row, column));
  return button;
}

function digitBox(digit, row, column) {
  const { left, top, width, height } = digit.box;
  const { offsetX, offsetY, scale } = pictureToPad();
  const box = document.createElement("div");
  box.className = "box";
  box.classList.toggle("doubtful", isDoubtful(digit));
  box.classList.toggle("selected", isSelected(row, column));
  box.style.left = `${offsetX + left * scale}px`;
  box.style.top = `${offsetY + top * scale}px`;
  box.style.width = `${width * scale}px`;
  box.style.height = `${height * scale}px`;
  box.dataset.digit = digit.digit;
  box.addEventListener("click", () => select(row, column));
  return box;
}

// How the picture that was read lies on the pad: its offset, and CSS pixels per pixel of the picture.
function pictureToPad() {
  if (element("picture").hidden) return { offsetX: 0, offsetY: 0, scale: 1 / pad.scale };
  const { clientWidth, clientHeight } = element("pad");
  const scale = Math.min(clientWidth / page.width, clientHeight / page.height);
  return { offsetX: (clientWidth - page.width * scale) / 2, offsetY: (clientHeight - page.height * scale) / 2, scale };
}

// Selects the digit of a drawing that was tapped.
function handleTap(padX, padY) {
  const [x, y] = [padX * pad.scale, padY * pad.scale];
  for (const [row, { digits }] of (page?.rows ?? []).entries()) {
    for (const [column, { box }] of digits.entries()) {
      if (x >= box.left && x < box.left + box.width && y >= box.top && y < box.top + box.height) {
        select(row, column);
        return true;
      }
    }
  }
  return false;
}

// The selected digit

function select(row, column) {
  selected = { row, column };
  refresh();
  element("text").children[row].children[column].focus({ preventScroll: true });
  showPanel(page.rows[row].digits[column], correct).catch((error) => showStatus(error.message));
}

function deselect() {
  selected = null;
  hidePanel();
  refresh();
}

// Selects the next digit in reading order, or the previous one with a step of -1.
function moveSelection(step) {
  const positions = page.rows.flatMap(({ digits }, row) => digits.map((_, column) => ({ row, column })));
  const current = positions.findIndex(({ row, column }) => isSelected(row, column));
  const { row, column } = positions[(current + step + positions.length) % positions.length];
  select(row, column);
}

async function correct(correctDigit) {
  const correctedPage = page; // a new one may arrive while the correction is saved
  const row = page.rows[selected.row];
  const digit = row.digits[selected.column];
  if (digit.digit === correctDigit) return;
  const originalDigit = digit.originalDigit ?? digit.digit;
  try {
    if (!source) throw new Error("This browser cannot display the picture, so the correction cannot be saved.");
    const picture = await encodeBase64(await cropDigit(digit.box));
    const body = { picture, digit: correctDigit, read: originalDigit, seen: digit.seen };
    const { id } = await postJson("/v1/corrections", body);
    if (digit.correctionId) {
      // the new correction replaces the earlier one
      await request(`/v1/corrections/${digit.correctionId}`, { method: "DELETE" }).catch(() => null);
    }
    digit.correctionId = id;
  } catch (error) {
    showStatus(error.message);
    return;
  }
  digit.originalDigit = originalDigit;
  digit.digit = correctDigit;
  row.text = row.digits.map(({ digit: label }) => label).join("");
  correctedPage.text = correctedPage.rows.map(({ text }) => text).join("\n");
  if (page === correctedPage) selected ? select(selected.row, selected.column) : refresh();
  showStatus(`Correction to ${correctDigit} saved`);
  await listCorrections();
}

// Returns the digit with a margin around it, as PNG.
function cropDigit({ left, top, width, height }) {
  const margin = Math.round(0.15 * Math.max(width, height));
  const sourceScale = source.width / page.width;
  const canvas = document.createElement("canvas");
  const cropWidth = width + 2 * margin;
  const cropHeight = height + 2 * margin;
  const scale = Math.min(1, MAX_CORRECTION_SIDE / (sourceScale * Math.max(cropWidth, cropHeight)));
  canvas.width = Math.max(1, Math.round(cropWidth * sourceScale * scale));
  canvas.height = Math.max(1, Math.round(cropHeight * sourceScale * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const crop = [left - margin, top - margin, cropWidth, cropHeight].map((length) => length * sourceScale);
  context.drawImage(source, ...crop, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// Copying and downloading

function download(content, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function toCsv() {
  const lines = page.rows.map(({ text, confidence, box: { left, top, width, height } }, row) =>
    [row + 1, text, confidence.toFixed(4), left, top, width, height].join(","),
  );
  return ["row,text,confidence,left,top,width,height", ...lines, ""].join("\n");
}

function toJson() {
  return JSON.stringify(page, (key, value) => (CORRECTION_FIELDS.includes(key) ? undefined : value), 2);
}

async function copyText() {
  try {
    await navigator.clipboard.writeText(page.text);
    showStatus("Copied");
  } catch {
    getSelection().selectAllChildren(element("text"));
    showStatus("The browser does not let this page copy. The text is selected: press Ctrl+C.");
  }
}

// Events

function clear() {
  source = null;
  hidePicture();
  pad.clear();
}

function updatePenWidth() {
  pad.penWidth = Number(element("pen").value);
  element("dot").style.width = element("dot").style.height = `${pad.penWidth}px`;
}

function openFirstFile(event, dataTransfer) {
  const [file] = dataTransfer?.files ?? [];
  if (!file) return;
  event.preventDefault();
  openPicture(file);
}

element("undo").addEventListener("click", () => pad.undo());
element("clear").addEventListener("click", clear);
element("pen").addEventListener("input", updatePenWidth);
element("copy").addEventListener("click", copyText);
element("csv").addEventListener("click", () => download(toCsv(), "text/csv", "numerals.csv"));
element("json").addEventListener("click", () => download(toJson(), "application/json", "numerals.json"));
for (const [button, input] of [["open", "file"], ["photograph", "camera"]]) {
  element(button).addEventListener("click", () => element(input).click());
  element(input).addEventListener("change", ({ target }) => {
    if (target.files.length) openPicture(target.files[0]);
    target.value = ""; // so that the same file can be opened again
  });
}
addEventListener("resize", refresh);
addEventListener("paste", (event) => openFirstFile(event, event.clipboardData));
addEventListener("drop", (event) => {
  element("pad").classList.remove("drop-target");
  openFirstFile(event, event.dataTransfer);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  element("pad").classList.add("drop-target");
});
addEventListener("dragleave", () => element("pad").classList.remove("drop-target"));
addEventListener("keydown", (event) => {
  if (event.target.matches("input, dialog *")) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") pad.isEmpty || pad.undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (/^[0-9]$/.test(event.key) && selected) correct(Number(event.key));
  else if (event.key === "Delete") clear();
  else if (event.key === "Escape" && selected) deselect();
  else if (event.key === "ArrowRight" && selected) moveSelection(1);
  else if (event.key === "ArrowLeft" && selected) moveSelection(-1);
  else return;
  event.preventDefault();
});

updatePenWidth();
refresh();
listCorrections().catch((error) => showStatus(error.message));
