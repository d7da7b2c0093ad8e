// The script of the console. The server makes the HTML; this fetches parts of it again, and sends what forms say.
"use strict";

const HEADERS = { "x-utcp-console": "1", "content-type": "application/json" };
const said = document.getElementById("said");

function say(text) {
  said.textContent = text;
}

const AWAY = { message: "The bridge does not answer.", remedy: "Check that it runs. This page goes on when it is back." };

// What `fetch` does, with a response of status 503 where there is none.
async function ask(path, options) {
  try {
    return await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    return Response.json(AWAY, { status: 503 });
  }
}

async function send(path, body, method = "POST") {
  const reply = await ask(path, { method, headers: HEADERS, body: JSON.stringify(body) });
  if (reply.status === 401 && path !== "/console/session") location.reload();
  return reply;
}

async function problemOf(reply) {
  try {
    const problem = await reply.json();
    return [problem.message, problem.remedy].filter(Boolean).join(" ");
  } catch {
    return `The bridge replied with status ${reply.status}.`;
  }
}

const shown = new WeakMap();

// Put new HTML in place, with the focus, the open details and the texts of forms as they were.
function exchange(place, html) {
  if (shown.get(place) === html) return;
  shown.set(place, html);
  const active = place.contains(document.activeElement) ? document.activeElement : null;
  const open = [...place.querySelectorAll("details[open][id]")].map((one) => one.id);
  const typed = active && "value" in active && active.tagName !== "BUTTON" ? active.value : null;
  const start = typed !== null && active.selectionStart;
  place.innerHTML = html;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (!active) return;
  const again = active.id && document.getElementById(active.id);
  if (!again) return place.closest("section")?.querySelector("h2, [tabindex]")?.focus({ preventScroll: true }); // it is done
  again.focus({ preventScroll: true });
  if (typed !== null) {
    again.value = typed;
    if (again.type === "search" || again.type === "text") again.setSelectionRange(start, start);
  }
}

// Whether the focus is still where a request began, or nowhere because that element is off or gone. Nobody is led away
// from where they went while the reply was awaited.
function waits(from) {
  return document.activeElement === from || document.activeElement === document.body;
}

async function load(path, place, into = null) {
  const from = document.activeElement;
  const reply = await ask(path);
  if (reply.status === 401) location.reload();
  if (!reply.ok) return say(await problemOf(reply));
  const html = await reply.text();
  const leads = into && waits(from);
  exchange(place, html);
  if (leads) into.focus();
}

const queries = {};

function refresh(part) {
  const place = document.querySelector(`[data-part="${part}"] [data-body]`);
  return place && load(`/console/parts/${part}${queries[part] ?? location.search}`, place);
}

// What other replicas say, where it differs from the state here.
function elsewhere({ state, replicas = [], silent = [] }) {
  const others = replicas.filter((one) => one.state !== state).map((one) => `, ${one.state} in ${one.replica}`);
  const problems = replicas.filter((one) => one.problem).map((one) => `; not in ${one.replica}: ${one.problem}`);
  return others.join("") + problems.join("") + silent.map((name) => `; no answer from ${name}`).join("");
}

async function post(button) {
  button.disabled = true;
  say("Working …");
  const reply = await send(button.dataset.post, JSON.parse(button.dataset.json));
  const answer = reply.ok ? await reply.json() : null;
  const state = answer?.state ? ` is ${answer.state}` : "";
  say(reply.ok ? `${button.dataset.said}${state}${elsewhere(answer)}.` : await problemOf(reply));
  button.disabled = false;
  if (waits(button)) button.focus({ preventScroll: true });
  if (button.dataset.query) queries[button.dataset.parts.split(" ")[0]] = button.dataset.query;
  for (const part of button.dataset.parts.split(" ")) await refresh(part);
}

// The lines of JSON of a reply, as they come.
async function* lines(body) {
  const reader = body.getReader();
  const text = new TextDecoder();
  let rest = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    const found = (rest + text.decode(value, { stream: true })).split("\n");
    rest = found.pop();
    for (const line of found) if (line) yield JSON.parse(line);
  }
}

// Open the page of a login in `tab`, and show a link to it for browsers that did not.
function show(name, { url, code }, tab) {
  if (!["https:", "http:"].includes(new URL(url).protocol)) return;
  const link = Object.assign(document.createElement("a"), { href: url, target: "_blank", rel: "noopener noreferrer" });
  link.textContent = `Open the page of the login to ${name}`;
  const words = code ? ` and enter the code ${code}.` : ", if your browser has not opened it.";
  const place = document.getElementById("login");
  place.replaceChildren(link, document.createTextNode(words));
  place.hidden = false;
  say(`Log in to ${name} in the other tab.`);
  if (!tab || tab.closed) return;
  tab.opener = null;
  tab.location.replace(url);
}

let login;

async function logIn(button) {
  login?.abort();
  login = new AbortController();
  const own = login;
  const name = button.dataset.name;
  const tab = window.open("", "_blank"); // later, a browser takes it for an advertisement
  let shows = 0;
  let last = {};
  say("Working …");
  try {
    const body = button.dataset.login;
    const options = { method: "POST", headers: HEADERS, body, credentials: "same-origin", signal: own.signal };
    const reply = await fetch("/console/login", options);
    if (reply.status === 401) location.reload();
    if (!reply.ok) last = { message: await problemOf(reply) };
    else {
      for await (const event of lines(reply.body)) {
        if (event.url) show(name, event, shows++ ? null : tab);
        else last = event;
      }
    }
  } catch {
    if (own.signal.aborted) return tab?.close();
    last = { message: "The connection to the bridge has ended." };
  }
  if (!shows) tab?.close();
  document.getElementById("login").hidden = true;
  say(last.state ? `You are logged in. ${name} is ${last.state}.` : [last.message, last.remedy].filter(Boolean).join(" "));
  for (const part of ["manuals", "tools"]) await refresh(part);
  if (waits(button)) document.getElementById(button.id)?.focus({ preventScroll: true });
}

document.addEventListener("click", async (event) => {
  const began = event.target.closest("[data-login]");
  if (began) return logIn(began);
  const button = event.target.closest("[data-post]");
  if (button) return post(button);
  if (event.target.closest("[data-sign-out]")) {
    await send("/console/session", {}, "DELETE");
    location.assign("/");
  }
  const copied = event.target.closest("[data-copy]");
  if (copied) {
    await navigator.clipboard.writeText(document.getElementById(copied.dataset.copy).textContent);
    say("Copied.");
  }
  const link = event.target.closest("a[data-load]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const into = link.dataset.into;
  const place = document.querySelector(`[data-part="${into}"] [data-body]`) ?? document.getElementById(into);
  await load(link.dataset.load, place, document.getElementById(into));
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  event.preventDefault();
  if ("signIn" in form.dataset) return signIn(form.secret.value, form.querySelector("[data-problem]"));
  if (form.dataset.search) {
    queries[form.dataset.search] = `?${new URLSearchParams(new FormData(form))}`;
    return refresh(form.dataset.search);
  }
  if (!form.dataset.try) return;
  const fields = Object.fromEntries([...form.querySelectorAll("[data-field]")].map((one) => [one.dataset.field, one.value]));
  const place = form.parentElement.querySelector("[data-result]");
  if (place.getAttribute("aria-busy") === "true") return say("The call is still running."); // a second click sends no second call
  place.setAttribute("aria-busy", "true");
  const body = { tool: form.dataset.try, what: event.submitter?.value ?? "call", fields, json: form.json.value };
  const reply = await send("/console/try", body);
  place.removeAttribute("aria-busy");
  if (reply.ok) exchange(place, await reply.text());
  else say(await problemOf(reply));
});

let pause;
document.addEventListener("input", (event) => {
  const form = event.target.closest("[data-search]");
  if (!form) return;
  clearTimeout(pause);
  pause = setTimeout(() => form.requestSubmit(), 250);
});

async function signIn(secret, problem) {
  const reply = await send("/console/session", { secret });
  if (reply.ok) return location.replace("/");
  problem.textContent = await problemOf(reply);
  problem.hidden = false;
}

function mark(word, tone) {
  const pill = document.getElementById("state");
  if (pill.textContent !== word) pill.textContent = word;
  pill.className = `pill ${tone}`;
}

async function refreshState() {
  const reply = await ask("/admin/api/status");
  if (reply.status === 401) location.reload();
  if (!reply.ok) return;
  const { ready } = await reply.json();
  mark(ready ? "ready" : "not ready", ready ? "good" : "busy");
}

// Show what has changed, and say when the bridge is away.
function follow() {
  const source = new EventSource("/console/events");
  let away = false;
  source.addEventListener("changed", (event) => {
    const parts = JSON.parse(event.data);
    if (parts.includes("tools") && !parts.includes("calls")) parts.push("calls"); // it says what a list of tools costs
    parts.forEach(refresh);
    refreshState();
  });
  source.addEventListener("open", () => {
    refreshState();
    if (!away) return;
    away = false;
    say("The bridge is back.");
    for (const one of document.querySelectorAll("[data-part]")) refresh(one.dataset.part);
  });
  source.addEventListener("error", () => {
    away = true;
    mark("no answer", "bad");
    if (source.readyState !== EventSource.CLOSED) return say(`${AWAY.message} ${AWAY.remedy}`);
    refreshState(); // the bridge refused: the visitor has to sign in again
    setTimeout(follow, 5000);
  });
}

const form = document.querySelector("[data-sign-in]");
if (form) {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  history.replaceState(null, "", "/");
  if (code) signIn(code, form.querySelector("[data-problem]"));
} else {
  follow();
}
