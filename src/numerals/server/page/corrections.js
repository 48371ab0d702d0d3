// The list of what was corrected.

import { request } from "./api.js";

const SHOWN = 24; // at a time
const element = (id) => document.getElementById(id);
let last = null; // the id of the oldest that is shown

export async function list() {
  last = null;
  await more();
}

async function more() {
  const first = last === null;
  const found = await request(`/v1/corrections?limit=${SHOWN}${first ? "" : `&before=${last}`}`);
  if (first) element("list").replaceChildren();
  element("list").append(...found.corrections.map(item));
  last = found.corrections.at(-1)?.id ?? last;
  element("more").hidden = found.corrections.length < SHOWN;
  element("none").hidden = found.count > 0;
  element("learn").hidden = found.count === 0;
  element("command").textContent = `numerals adapt ${found.file}`;
}

function item(correction) {
  const line = document.createElement("li");
  const image = document.createElement("img");
  image.src = `data:image/png;base64,${correction.picture}`;
  image.alt = "";
  const words = document.createElement("span");
  words.textContent = correction.read === null ? `${correction.digit}` : `${correction.read} → ${correction.digit}`;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "×";
  button.setAttribute("aria-label", `Forget this correction to ${correction.digit}`);
  button.addEventListener("click", async () => {
    await request(`/v1/corrections/${correction.id}`, { method: "DELETE" });
    await list();
  });
  line.append(image, words, button);
  return line;
}

element("more").addEventListener("click", more);
