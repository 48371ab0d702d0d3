// Asks the server. Knows nothing about the page but its dialog for the token, which is asked for once.

const KEY = "numerals-token";
const ask = document.getElementById("ask");
let asking = null; // one question at a time, whoever waits for the answer

function token() {
  return localStorage.getItem(KEY);
}

function askForToken() {
  asking ??= new Promise((answered) => {
    ask.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      localStorage.setItem(KEY, document.getElementById("token").value);
      document.getElementById("token").value = "";
      asking = null;
      ask.close();
      answered();
    };
    ask.oncancel = (event) => event.preventDefault();
    ask.showModal();
  });
  return asking;
}

export async function request(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not answer.");
  }
  if (answer.status === 401) {
    await askForToken();
    return request(path, options);
  }
  if (answer.status === 204) return null;
  const found = await answer.json().catch(() => ({ detail: answer.statusText }));
  if (!answer.ok) throw new Error(found.detail);
  return found;
}

export function send(path, value) {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(value),
  });
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

export async function base64Of(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
