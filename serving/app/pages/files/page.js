// Swaps parts of the server's own pages, so that nothing reloads; without it they load as a whole.
const PARTS = ["notices", "entry", "answer", "recent"];
const LATE_MS = 5000;
const RETRY_MS = 2000;
const LOST =
  "The connection to the server is lost. What was stored is kept and will be answered; this page tries again by itself.";
const DATABASE_LOST =
  "The database cannot be reached at the moment. The request is kept and will be answered; this page goes on by itself.";
const REFUSED =
  "The server cannot follow this request at the moment. It is kept and will be answered; this page tries again by itself.";

let stream = null;
let lateTimer = 0;
let retryTimer = 0;
let submittedAt = 0;
let shownPath = location.pathname;

const part = (id) => document.getElementById(id);

function say(text) {
  const place = part("lost");
  if (place) {
    place.textContent = text;
    place.hidden = !text;
  }
}

function swap(html, parts) {
  const next = new DOMParser().parseFromString(html, "text/html");
  for (const id of parts) {
    const fresh = next.getElementById(id);
    if (fresh) part(id).replaceChildren(...document.adoptNode(fresh).childNodes);
  }
  document.title = next.title;
  enhance();
}

async function load(address, parts) {
  const response = await fetch(address, { headers: { accept: "text/html" } });
  // A page without the patient, for the database is away: what is shown stays, and is asked again.
  if (response.status >= 500) throw new Error(String(response.status));
  swap(await response.text(), parts);
}

function stopWaiting() {
  stream?.close();
  stream = null;
  clearTimeout(lateTimer);
  clearTimeout(retryTimer);
}

function waitForAnswer(address) {
  stopWaiting();
  lateTimer = setTimeout(() => part("late")?.removeAttribute("hidden"), LATE_MS);
  follow(address, location.pathname);
}

function follow(address, page) {
  stream = new EventSource(address);
  stream.addEventListener("open", () => say(""));
  stream.addEventListener("unavailable", () => say(DATABASE_LOST));
  stream.addEventListener("prediction", async () => {
    stopWaiting();
    try {
      await load(page, ["notices", "answer", "recent"]);
      showRoundTrip();
    } catch {
      say(LOST);
      retryTimer = setTimeout(() => follow(address, page), RETRY_MS);
    }
  });
  stream.addEventListener("error", () => {
    if (stream?.readyState !== EventSource.CLOSED) return say(LOST);
    // A refusal ends an EventSource for good: the page goes on asking.
    say(REFUSED);
    retryTimer = setTimeout(() => follow(address, page), RETRY_MS);
  });
}

function showRoundTrip() {
  const place = part("round-trip");
  if (place && submittedAt) {
    place.textContent = `; ${Math.round(performance.now() - submittedAt)} ms from the click to this answer`;
  }
  submittedAt = 0;
}

function badInput(form) {
  // The browser sends an input that it cannot read as empty, which would mean "not measured".
  const input = [...form.elements].find((one) => one.validity?.badInput);
  input?.reportValidity();
  return Boolean(input);
}

async function submit(event) {
  const form = event.target.closest("form[data-swap]");
  if (!form) return;
  event.preventDefault();
  if (badInput(form)) return;
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
    shownPath = location.pathname;
    // The form keeps what was typed until it was stored.
    swap(html, PARTS);
    if (!part("answer").querySelector("[data-waiting]")) showRoundTrip();
    (part("error-summary") ?? part("answer")).focus({ preventScroll: innerWidth > 900 });
  } catch {
    say("The server cannot be reached. Whether this was stored is not known. What you entered is still here: sending it again in a few seconds is safe, it is stored once.");
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
  if (waiting && !stream) waitForAnswer(waiting.dataset.waiting);
}

document.addEventListener("submit", submit);
addEventListener("popstate", () => {
  // A link within the page comes here too.
  if (location.pathname === shownPath) return;
  shownPath = location.pathname;
  stopWaiting();
  load(location.href, PARTS).catch(() => say(LOST));
});
enhance();
