// Requests to the server's API. Asks for the token in a dialog when the server wants one.

const TOKEN_KEY = "numerals-token"; // in localStorage
const dialog = document.getElementById("token-dialog");
const tokenInput = document.getElementById("token");
let tokenPromise = null; // requests that need the token at the same time share one dialog

function askForToken() {
  tokenPromise ??= new Promise((resolve) => {
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      localStorage.setItem(TOKEN_KEY, tokenInput.value);
      tokenInput.value = "";
      tokenPromise = null;
      dialog.close();
      resolve();
    };
    dialog.oncancel = (event) => event.preventDefault();
    dialog.showModal();
  });
  return tokenPromise;
}

// Returns the response's JSON, or null if it has no body. Throws an Error with the server's message.
export async function request(path, options = {}) {
  const headers = { ...options.headers };
  const token = localStorage.getItem(TOKEN_KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not respond. Check that it is running and try again.");
  }
  if (response.status === 401) {
    await askForToken();
    return request(path, options);
  }
  if (response.status === 204) return null;
  const content = await response.json().catch(() => ({ detail: response.statusText }));
  if (!response.ok) throw new Error(content.detail);
  return content;
}

export function postJson(path, body) {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

export function decodeBase64(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

export async function encodeBase64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}
