// The panel about the selected digit: confidence, the network's input, a heat map, ten probabilities.

import { decodeBase64, postJson } from "./api.js";

const SIDE = 28; // pixels
const element = (id) => document.getElementById(id);
let latestRequest = 0; // ignore explanations that arrive after another digit was selected

// Shows the panel for a digit; `onCorrect` is called with the correct digit when the user chooses it.
export async function showPanel(digit, onCorrect) {
  const request = (latestRequest += 1);
  const readDigit = digit.originalDigit ?? digit.digit;
  const { probabilities, heat } = await postJson("/v1/explain", { seen: digit.seen, digit: readDigit });
  if (request !== latestRequest) return;
  const ranking = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  const runnerUp = ranking.find((candidate) => candidate !== readDigit);
  element("verdict").replaceChildren(
    digit.originalDigit === undefined ? `Read as ${readDigit}` : `Read as ${readDigit}, corrected to ${digit.digit}`,
    small(`${percent(digit.confidence)} confidence; runner-up ${runnerUp}, ${percent(probabilities[runnerUp])}`),
  );
  const ink = decodeBase64(digit.seen);
  drawPixels(element("seen"), ink, (level) => [level, level, level]);
  const strongest = Math.max(0.5, ...heat.flat().map(Math.abs));
  drawPixels(element("heat"), ink, (level, i) => heatColour(level, heat[Math.floor(i / SIDE)][i % SIDE] / strongest));
  element("heat-caption").textContent = `Why: blue supports ${readDigit}, orange opposes it`;
  element("bars").replaceChildren(
    ...probabilities.map((probability, label) => bar(label, probability, label === digit.digit, onCorrect)),
  );
  element("panel").hidden = false;
}

export function hidePanel() {
  latestRequest += 1;
  element("panel").hidden = true;
}

function percent(probability) {
  if (probability >= 0.9995) return "100%";
  if (probability < 0.0005) return "< 0.1%";
  return `${(100 * probability).toPrecision(probability < 0.1 ? 2 : 3)}%`;
}

function small(text) {
  const node = document.createElement("small");
  node.textContent = text;
  return node;
}

// Draws 28x28 pixels; `colourOf` returns red, green and blue for an ink level and a pixel's index.
function drawPixels(canvas, ink, colourOf) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIDE, SIDE);
  ink.forEach((level, i) => image.data.set([...colourOf(level, i), 255], 4 * i));
  context.putImageData(image, 0, 0);
}

// Ink is grey; pixels that support the digit are blue and those against it orange, empty ones too. `heat` is -1 to 1.
function heatColour(level, heat) {
  const colour = heat > 0 ? [58, 123, 255] : [255, 138, 30];
  const weight = Math.min(1, Math.abs(heat)) ** 0.8;
  const grey = 0.55 * level;
  const brightness = 0.35 + (0.65 * level) / 255;
  return colour.map((channel) => grey * (1 - weight) + channel * weight * brightness);
}

function bar(label, probability, isSelected, onCorrect) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = isSelected ? "bar selected" : "bar";
  button.title = isSelected ? "" : `Correct to ${label}`;
  button.setAttribute("aria-label", `${label}, ${percent(probability)}${isSelected ? "" : `. ${button.title}`}`);
  const name = document.createElement("b");
  name.textContent = label;
  const track = document.createElement("span");
  const fill = document.createElement("i");
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  button.append(name, track, small(percent(probability)));
  button.addEventListener("click", () => onCorrect(label));
  return button;
}
