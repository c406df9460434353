// Swaps parts of the server's pages without a reload. The pages work without this script.
const PARTS = ["notices", "entry", "answer", "recent"];
const LATE_MS = 5000;
const RETRY_MS = 2000;
const LOST =
  "The connection to the server is lost. Patients already stored are safe and will get a prediction. This page is trying to reconnect.";
const DATABASE_LOST =
  "The database cannot be reached. The patient is stored and will get a prediction. This page keeps trying.";
const REJECTED =
  "The server cannot send updates about this patient at the moment. The patient is stored and will get a prediction. This page keeps trying.";

let stream = null;
let lateTimer = 0;
let retryTimer = 0;
let submittedAt = 0;
let currentPath = location.pathname;

const part = (id) => document.getElementById(id);

function showMessage(text) {
  const message = part("lost");
  if (message) {
    message.textContent = text;
    message.hidden = !text;
  }
}

function swap(html, parts) {
  const next = new DOMParser().parseFromString(html, "text/html");
  for (const id of parts) {
    const replacement = next.getElementById(id);
    if (replacement) part(id).replaceChildren(...document.adoptNode(replacement).childNodes);
  }
  document.title = next.title;
  enhance();
}

async function load(address, parts) {
  const response = await fetch(address, { headers: { accept: "text/html" } });
  // In an outage the page does not have the patient: keep what is shown and try again later.
  if (response.status >= 500) throw new Error(String(response.status));
  swap(await response.text(), parts);
}

function stopWaiting() {
  stream?.close();
  stream = null;
  clearTimeout(lateTimer);
  clearTimeout(retryTimer);
}

function waitForPrediction(address) {
  stopWaiting();
  lateTimer = setTimeout(() => part("late")?.removeAttribute("hidden"), LATE_MS);
  follow(address, location.pathname);
}

function follow(address, page) {
  stream = new EventSource(address);
  stream.addEventListener("open", () => showMessage(""));
  stream.addEventListener("unavailable", () => showMessage(DATABASE_LOST));
  stream.addEventListener("prediction", async () => {
    stopWaiting();
    try {
      await load(page, ["notices", "answer", "recent"]);
      showRoundTrip();
    } catch {
      showMessage(LOST);
      retryTimer = setTimeout(() => follow(address, page), RETRY_MS);
    }
  });
  stream.addEventListener("error", () => {
    if (stream?.readyState !== EventSource.CLOSED) return showMessage(LOST);
    // An error response closes an EventSource for good, so the page opens a new one.
    showMessage(REJECTED);
    retryTimer = setTimeout(() => follow(address, page), RETRY_MS);
  });
}

function showRoundTrip() {
  const roundTrip = part("round-trip");
  if (roundTrip && submittedAt) {
    roundTrip.textContent = `; ${Math.round(performance.now() - submittedAt)} ms from the click to this prediction`;
  }
  submittedAt = 0;
}

function hasBadInput(form) {
  // The browser sends an unreadable input as empty, which would mean "not measured".
  const input = [...form.elements].find((element) => element.validity?.badInput);
  input?.reportValidity();
  return Boolean(input);
}

async function submit(event) {
  const form = event.target.closest("form[data-swap]");
  if (!form) return;
  event.preventDefault();
  if (hasBadInput(form)) return;
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  submittedAt = performance.now();
  try {
    const response = await fetch(form.action, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
    });
    const html = await response.text();
    stopWaiting();
    if (response.redirected && response.url !== location.href) history.pushState(null, "", response.url);
    currentPath = location.pathname;
    // The form keeps its values until they are stored.
    swap(html, PARTS);
    if (!part("answer").querySelector("[data-waiting]")) showRoundTrip();
    (part("error-summary") ?? part("answer")).focus({ preventScroll: innerWidth > 900 });
  } catch {
    showMessage("The server cannot be reached. Your entry may or may not have been stored. It is still in the form. You can send it again in a few seconds: it will be stored only once.");
  } finally {
    button.disabled = false;
  }
}

function enhance() {
  for (const form of document.querySelectorAll("form[data-swap]")) form.noValidate = true;
  const example = part("example");
  if (example) {
    example.hidden = false;
    example.onclick = () => {
      for (const input of document.querySelectorAll("[data-example]")) input.value = input.dataset.example;
    };
  }
  const waiting = part("answer").querySelector("[data-waiting]");
  if (waiting && !stream) waitForPrediction(waiting.dataset.waiting);
}

document.addEventListener("submit", submit);
addEventListener("popstate", () => {
  // Links within the page fire this event too.
  if (location.pathname === currentPath) return;
  currentPath = location.pathname;
  stopWaiting();
  load(location.href, PARTS).catch(() => showMessage(LOST));
});
enhance();
