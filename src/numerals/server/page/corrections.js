// The list of saved corrections, loaded page by page.

import { request } from "./api.js";

const PAGE_SIZE = 24; // corrections
const element = (id) => document.getElementById(id);
let oldestId = null; // of the corrections in the list

export async function listCorrections() {
  oldestId = null;
  await loadPage();
}

async function loadPage() {
  const isFirst = oldestId === null;
  const page = await request(`/v1/corrections?limit=${PAGE_SIZE}${isFirst ? "" : `&before=${oldestId}`}`);
  if (isFirst) element("correction-list").replaceChildren();
  element("correction-list").append(...page.corrections.map(listItem));
  oldestId = page.corrections.at(-1)?.id ?? oldestId;
  element("show-more").hidden = element("correction-list").children.length >= page.count;
  element("no-corrections").hidden = page.count > 0;
  element("train-hint").hidden = page.count === 0;
  element("train-command").textContent = `numerals adapt ${page.file}`;
}

function listItem(correction) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  image.src = `data:image/png;base64,${correction.picture}`;
  image.alt = "";
  const label = document.createElement("span");
  label.textContent = correction.read === null ? `${correction.digit}` : `${correction.read} → ${correction.digit}`;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "×";
  button.setAttribute("aria-label", `Delete this correction to ${correction.digit}`);
  button.addEventListener("click", async () => {
    await request(`/v1/corrections/${correction.id}`, { method: "DELETE" });
    await listCorrections();
  });
  item.append(image, label, button);
  return item;
}

element("show-more").addEventListener("click", loadPage);
