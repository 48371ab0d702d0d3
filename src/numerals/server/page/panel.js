// What the network saw of one digit, what it says of it, and why.

import { bytesOf, send } from "./api.js";

const SIDE = 28;
const element = (id) => document.getElementById(id);
const percent = (share) => (share >= 0.9995 ? "100 %" : share < 0.0005 ? "< 0.1 %" : `${(100 * share).toPrecision(share < 0.1 ? 2 : 3)} %`);
let latest = 0; // the digit that was chosen last: answers about another come too late

// `correct` is called with the right digit.
export async function show(digit, correct) {
  const number = (latest += 1);
  const read = digit.read ?? digit.digit; // before it was corrected
  const found = await send("/v1/explain", { seen: digit.seen, digit: read });
  if (number !== latest) return;
  const ranked = [...found.probabilities.keys()].sort((a, b) => found.probabilities[b] - found.probabilities[a]);
  const runnerUp = ranked.find((each) => each !== read);
  element("verdict").replaceChildren(
    digit.corrected ? `Read as ${read}, it is a ${digit.digit}` : `Read as ${read}`,
    small(`${percent(digit.confidence)} sure; runner-up ${runnerUp}, ${percent(found.probabilities[runnerUp])}`),
  );
  const ink = bytesOf(digit.seen);
  paint(element("seen"), ink, (level) => [level, level, level]);
  const most = Math.max(0.5, ...found.heat.flat().map(Math.abs));
  paint(element("heat"), ink, (level, place) => warmth(level, found.heat[Math.floor(place / SIDE)][place % SIDE] / most));
  element("why").textContent = `why: blue spoke for ${read}, orange against`;
  element("bars").replaceChildren(...found.probabilities.map((share, each) => bar(each, share, digit, correct)));
  element("panel").hidden = false;
}

export function hide() {
  latest += 1;
  element("panel").hidden = true;
}

function small(text) {
  const part = document.createElement("small");
  part.textContent = text;
  return part;
}

function paint(canvas, ink, colour) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIDE, SIDE);
  ink.forEach((level, place) => image.data.set([...colour(level, place), 255], 4 * place));
  context.putImageData(image, 0, 0);
}

// Ink grey; what spoke for the digit blue, what spoke against it orange, also where the paper is empty.
function warmth(level, share) {
  const [red, green, blue] = share > 0 ? [58, 123, 255] : [255, 138, 30];
  const weight = Math.min(1, Math.abs(share)) ** 0.8;
  const grey = 0.55 * level;
  const glow = 0.35 + (0.65 * level) / 255;
  return [red, green, blue].map((part) => grey * (1 - weight) + part * weight * glow);
}

function bar(each, share, digit, correct) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = each === digit.digit ? "bar chosen" : "bar";
  button.setAttribute("aria-label", `${each}, ${percent(share)}: it is a ${each}`);
  button.title = each === digit.digit ? "" : `It is a ${each}`;
  const name = document.createElement("b");
  name.textContent = each;
  const track = document.createElement("span");
  const fill = document.createElement("i");
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  button.append(name, track, small(percent(share)));
  button.addEventListener("click", () => correct(each));
  return button;
}
