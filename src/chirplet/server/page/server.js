/** Requests to the server of this page. Whatever fails is a Problem, whose message is a sentence to show. */

let token = "";

export function useToken(value) {
  token = value.trim();
}

export class Problem extends Error {
  /** `status` is 0 without an answer; `retryAfter` is in seconds, null where a repetition cannot help by itself. */
  constructor(sentence, status = 0, retryAfter = null) {
    super(sentence);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * GET without a body, POST with one. An abort rejects with the browser's AbortError.
 * @returns {Promise<Response>} an answer with a status of success
 */
export async function ask(path, { body, type, signal } = {}) {
  const headers = {};
  if (type) headers["Content-Type"] = type;
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. It has stopped, or the connection is lost.");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

export async function askJson(path, content, signal) {
  const body = content === undefined ? undefined : JSON.stringify(content);
  const response = await ask(path, { body, type: body && "application/json", signal });
  return response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Problem("The answer is not the server's. Is there a proxy in between?");
  });
}

async function problemOf(response) {
  const detail = await detailOf(response);
  const wait = Math.max(1, Number(response.headers.get("Retry-After")) || 1);
  const { status } = response;
  if (status === 401 && token) return new Problem("The server does not accept this token.", status);
  if (status === 401) return new Problem("The server asks for a token.", status);
  if (status === 404) return new Problem(`The server does not have this (any more). ${detail}`, status);
  if (status === 413) return new Problem(`This is too large for the server. ${detail}`, status);
  if (status === 422) return new Problem(`The server cannot use this. ${detail}`, status);
  if (status === 429) return new Problem("The server is busy.", status, wait);
  if (status === 503) return new Problem("The server is not ready.", status, wait);
  return new Problem(`The server failed (${status}). ${detail}`, status);
}

/** The server's own line about the error, if there is one. */
async function detailOf(response) {
  try {
    const { error } = await response.json();
    return typeof error === "string" ? `It says: ${error}` : "";
  } catch {
    return "";
  }
}
