// The page of a Clara server. Everything that comes from documents is put in as text, never as HTML.

const $ = (id) => document.getElementById(id);
const state = { store: "", before: [], sources: [], asking: null, info: null, polling: 0 };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function tell(text, isBad = false) {
  $("notice").textContent = text;
  $("notice").classList.toggle("bad", isBad);
}

// -- calling the server ------------------------------------------------------------------------------

function headers(more = {}) {
  const key = sessionStorage.getItem("clara-key");
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

async function call(path, options = {}) {
  const body = options.json === undefined ? undefined : JSON.stringify(options.json);
  const given = body === undefined ? {} : { "content-type": "application/json" };
  let response;
  try {
    response = await fetch(path, { method: options.method || (body ? "POST" : "GET"), body, headers: headers(given), signal: options.signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; is it still running?");
  }
  if (response.status === 401) $("key").hidden = false;
  if (!response.ok) throw new Error((await response.json().catch(() => null))?.error?.message || `The server answered ${response.status}.`);
  return options.raw ? response : response.json();
}

const inStore = (rest) => `api/stores/${encodeURIComponent(state.store)}/${rest}`;

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) if (part.startsWith("data: ") && part !== "data: [DONE]") yield JSON.parse(part.slice(6));
  }
}

function guarded(action) {
  return async (...args) => {
    try {
      await action(...args);
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message, true);
    }
  };
}

// -- sources -----------------------------------------------------------------------------------------

// places count characters as Python does, where a character may be two of JavaScript's
function marked(text, evidence) {
  const all = Array.from(text);
  const piece = (from, to) => all.slice(from, to).join("");
  const shown = element("p", { class: "text" });
  if (!evidence) return shown.append(text), shown;
  const { start, stop, answer } = evidence;
  const mark = element("mark", { "data-kind": "evidence" });
  if (answer) mark.append(piece(start, answer[0]), element("mark", { "data-kind": "answer" }, piece(...answer)), piece(answer[1], stop));
  else mark.append(piece(start, stop));
  shown.append(piece(0, start), mark, piece(stop));
  return shown;
}

function place(source) {
  const parts = [];
  if (source.heading) parts.push(source.heading);
  if (source.page !== null) parts.push(`page ${source.page}`);
  else if (source.lines) parts.push(source.lines[0] === source.lines[1] ? `line ${source.lines[0]}` : `lines ${source.lines.join("–")}`);
  return parts.join(" · ");
}

async function openOriginal(event, url) {
  if (!sessionStorage.getItem("clara-key")) return; // the link does it
  event.preventDefault();
  const blob = await (await call(url, { raw: true })).blob();
  window.open(URL.createObjectURL(blob) + (url.split("#")[1] ? `#${url.split("#")[1]}` : ""), "_blank", "noopener");
}

function original(url, text = "Original") {
  return element("a", { href: url, target: "_blank", rel: "noopener", onclick: guarded((event) => openOriginal(event, url)) }, text);
}

function sourceCard(source, takenFrom) {
  const score = Math.max(0, Math.min(1, source.score));
  return element("article", { class: "source", id: `source-${source.id}`, tabindex: "-1" },
    element("h3", {}, `${source.rank}. ${source.title || source.name}`),
    element("p", { class: "dim" }, [source.name, place(source)].filter(Boolean).join(" · ")),
    element("p", { class: "dim" },
      element("label", {}, "Fits the question ", element("meter", { min: 0, max: 1, value: score }, score.toFixed(3))), ` ${source.score.toFixed(3)}`,
      source.id === takenFrom ? " · the answer is from here" : null,
      source.read_as === "text" ? " · read as text" : null),
    marked(source.text, source.evidence),
    source.also_in.length ? element("p", { class: "dim" }, `Also in ${source.also_in.length} other document(s)`) : null,
    element("div", { class: "row" },
      original(source.url),
      element("button", { class: "plain", type: "button", onclick: guarded(() => showMemory(source.id)) }, "Memory"),
      element("button", { class: "plain", type: "button", onclick: guarded(() => showDocument(source.document, source.id)) }, "Read as text")));
}

function showSources(sources, takenFrom = null) {
  state.sources = sources;
  $("sources").replaceChildren(element("h2", {}, "Sources"), ...sources.map((one) => sourceCard(one, takenFrom)));
}

function choose(id) {
  document.querySelectorAll(".source.chosen").forEach((one) => one.classList.remove("chosen"));
  const card = $(`source-${id}`);
  if (!card) return;
  card.classList.add("chosen");
  card.scrollIntoView({ block: "nearest" });
  card.focus({ preventScroll: true });
}

// -- asking ------------------------------------------------------------------------------------------

async function ask(question) {
  state.asking?.abort();
  const asking = (state.asking = new AbortController());
  const said = element("p", { class: "said waiting" }, "…");
  const links = element("ol", { "aria-label": "Sources of this answer" });
  const asked = element("p", { class: "asked" }, question);
  const turn = element("article", { class: "turn" }, asked, said, links);
  $("turns").append(turn);
  turn.scrollIntoView({ block: "nearest" });
  busy(true);
  tell("Searching and reading …");
  let text = "";
  try {
    const response = await call(inStore("ask"), { json: { question, before: state.before, stream: true }, raw: true, signal: asking.signal });
    for await (const event of events(response)) {
      if (event.type === "sources") {
        showSources(event.sources);
        tell("Reading the passages that were found …");
      } else if (event.type === "text") {
        text += event.text;
        said.textContent = text;
        said.classList.remove("waiting");
      } else if (event.type === "answer") {
        finish(event.answer, turn, asked, said, links, question);
      } else if (event.type === "error") throw new Error(event.error.message);
    }
  } catch (error) {
    said.classList.remove("waiting");
    said.textContent = text || (error.name === "AbortError" ? "Stopped." : "No answer.");
    throw error;
  } finally {
    if (state.asking === asking) {
      state.asking = null;
      busy(false);
    }
  }
}

function finish(answer, turn, asked, said, links, question) {
  said.classList.remove("waiting");
  said.textContent = answer.text || "The documents do not answer this.";
  if (answer.is_doubtful && answer.text) turn.insertBefore(element("p", { class: "dim" }, "Probably not in these passages; the best guess:"), said);
  if (answer.question !== question) asked.append(element("span", { class: "dim" }, ` — asked as: ${answer.question}`));
  const show = (id) => { showSources(answer.sources, answer.taken_from); choose(id); };
  for (const one of answer.sources.slice(0, 9)) {
    const label = `Source ${one.rank}: ${one.name}`;
    links.append(element("li", {}, element("button", { class: "plain", type: "button", title: label, "aria-label": label, onclick: () => show(one.id) }, String(one.rank))));
  }
  showSources(answer.sources, answer.taken_from);
  state.before.push(answer.question);
  tell(`Answered from ${answer.sources.length} passages.`);
}

function busy(isBusy) {
  $("ask-button").disabled = isBusy;
  $("cancel").hidden = !isBusy;
}

// -- search ------------------------------------------------------------------------------------------

const STEPS = {
  filter: "The conditions leave these passages.",
  index: "The index puts candidates forward.",
  exact: "The question's embedding is compared with that of every passage (cosine).",
  lexical: "The question's words are looked up (BM25).",
  fused: "Both rankings are joined.",
  rerank: "The question's tokens are compared with what the candidates' memories hold.",
};

async function search(question, where) {
  tell("Searching …");
  const found = await call(inStore("search"), { json: { question, where: where ? [where] : [], k: 10 } });
  const named = new Map(found.results.map((one) => [one.id, `${one.rank}. ${one.name}`]));
  const steps = found.steps.map((step) => element("li", { class: "card" },
    element("h3", {}, `${step.name}: ${step.count.toLocaleString()} passages, ${step.milliseconds.toFixed(1)} ms`),
    element("p", { class: "dim" }, STEPS[step.name] || ""),
    element("p", { class: "dim" }, step.candidates.slice(0, 8).map((one) => `${named.get(one.id) || `passage ${one.id}`} (${one.score.toFixed(3)})`).join(", "))));
  $("found").replaceChildren(
    element("p", { class: "dim" }, `${found.allowed.toLocaleString()} of ${found.passages.toLocaleString()} passages could be found.`),
    element("div", { class: "split" },
      element("div", {}, element("h3", {}, "What was found"), ...found.results.map((one) => sourceCard(one, null))),
      element("aside", { "aria-label": "How it was found" }, element("h3", {}, "How it was found"), element("ol", {}, ...steps))));
  tell(`${found.results.length} passages found.`);
}

// -- documents ---------------------------------------------------------------------------------------

const size = (bytes) => bytes === null ? "" : bytes < 1e3 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
const sending = new Map(); // files that are not all here yet: name -> share

async function showDocuments() {
  const { documents, additions } = await call(inStore("documents"));
  const wanted = $("filter").value.toLowerCase();
  const shown = documents.filter((one) => `${one.title} ${one.name}`.toLowerCase().includes(wanted));
  const rows = shown.slice(0, 500).map((one) => element("tr", {},
    element("td", {}, element("button", { type: "button", onclick: guarded(() => showDocument(one.id)) }, one.title || one.name), element("div", { class: "dim" }, one.name)),
    element("td", { class: "number" }, one.passages.toLocaleString()),
    element("td", { class: "number" }, size(one.size)),
    element("td", {}, one.modified ? new Date(one.modified * 1000).toLocaleDateString() : ""),
    element("td", { class: "actions" }, one.url ? original(one.url) : "",
      state.info?.writable ? element("button", { type: "button", "aria-label": `Remove ${one.name}`, onclick: guarded(() => removeDocument(one)) }, "Remove") : null)));
  const heads = ["Document", "Passages", "Size", "Changed", "Actions"].map((name) => element("th", { scope: "col", class: ["Passages", "Size"].includes(name) ? "number" : "" }, name));
  $("documents").replaceChildren(
    element("p", { class: "dim" }, shown.length > 500 ? `The first 500 of ${shown.length.toLocaleString()}` : `${shown.length.toLocaleString()} documents`),
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
  showAdditions(additions);
  clearTimeout(state.polling);
  if (additions.some((one) => one.state === "waiting" || one.state === "working")) state.polling = setTimeout(guarded(showDocuments), 700);
}

function showAdditions(additions) {
  const words = { waiting: "waits", done: "done", failed: "failed" };
  const lines = [...sending].map(([name, share]) => element("li", {}, `${name} `,
    element("progress", { max: 1, value: share, "aria-label": `Sending ${name}` }), ` ${Math.round(share * 100)} % sent`));
  const names = new Set(); // the newest addition of a name counts
  for (const one of additions) {
    if (names.has(one.name) || names.size === 20) continue;
    names.add(one.name);
    const now = one.state === "working" ? `is read and compressed, ${one.passages} passages so far` : words[one.state];
    lines.push(element("li", { class: one.state === "failed" ? "bad" : "", "data-state": one.state }, `${one.name}: ${now}. ${one.state === "working" ? "" : one.message} `,
      one.state === "working" ? element("progress", { "aria-label": `Adding ${one.name}` }) : null,
      one.state === "failed" ? element("button", { class: "plain", type: "button", onclick: guarded(async () => { await call(`api/additions/${one.id}/retry`, { method: "POST" }); await showDocuments(); }) }, "Try again") : null));
  }
  $("additions").replaceChildren(...lines);
}

function send(file) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
    request.open("POST", inStore(`uploads/${encodeURIComponent(file.name)}`));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => { if (event.lengthComputable) sending.set(file.name, event.loaded / event.total); showAdditions([]); };
    request.onerror = () => reject(new Error(`${file.name} could not be sent; the server does not answer.`));
    request.onload = () => {
      if (request.status === 202) return resolve();
      let said = null;
      try { said = JSON.parse(request.responseText).error.message; } catch { /* no JSON: the status says it */ }
      reject(new Error(`${file.name}: ${said || `the server answered ${request.status}.`}`));
    };
    request.send(file);
  });
}

async function addFiles(files) {
  const refused = [];
  for (const file of files) {
    sending.set(file.name, 0);
    showAdditions([]);
    try {
      if (state.info && file.size > state.info.largest_upload) throw new Error(`${file.name} is larger than ${size(state.info.largest_upload)}.`);
      await send(file);
    } catch (error) {
      refused.push(error.message);
    } finally {
      sending.delete(file.name);
    }
  }
  await showDocuments();
  tell(refused.join(" "), refused.length > 0);
}

async function removeDocument(one) {
  if (!confirm(`Remove ${one.name} from the store? A file that was not uploaded here stays where it is.`)) return;
  await call(inStore(`documents/${one.id}`), { method: "DELETE" });
  $("document").replaceChildren();
  tell(`${one.name} was removed.`);
  await showDocuments();
}

async function showDocument(id, passage = null) {
  const one = await call(inStore(`documents/${id}`));
  if (location.hash !== "#documents") {
    location.hash = "#documents";
    show();
  }
  $("document").replaceChildren(
    element("h2", {}, one.title || one.name),
    element("p", { class: "dim" }, `${one.name} · ${one.passages} passages, as the model read them `, one.url ? original(one.url) : null),
    ...one.text.map((part) => element("article", { class: `source${part.id === passage ? " chosen" : ""}`, id: `passage-${part.id}`, tabindex: "-1" },
      element("h3", {}, `Passage ${part.position + 1}`), element("p", { class: "dim" }, place(part)), element("p", { class: "text" }, part.text),
      element("button", { class: "plain", type: "button", onclick: guarded(() => showMemory(part.id)) }, "Memory"))));
  const target = passage === null ? $("document") : $(`passage-${passage}`);
  target.scrollIntoView({ block: "start" });
  target.focus({ preventScroll: true });
}

// -- memory ------------------------------------------------------------------------------------------

async function showMemory(id) {
  tell("Looking into the memory …");
  const found = await call(inStore(`passages/${id}/memory`));
  const { words, nearest, text, paraphrase, kept, lost } = found.inspection;
  const all = Array.from(text);
  const mean = words.reduce((sum, word) => sum + word.weight, 0) / Math.max(1, words.length);
  const shown = element("p", { class: "text" });
  let at = 0;
  for (const word of words) {
    const step = mean ? Math.min(5, Math.round((word.weight / mean) * 2.5)) : 0;
    const stop = word.start + Array.from(word.text).length;
    shown.append(all.slice(at, word.start).join(""), element("span", { class: `w${step}`, title: `${(100 * word.weight).toFixed(1)} % of the whole` }, word.text));
    at = stop;
  }
  shown.append(all.slice(at).join(""));
  $("memory-body").replaceChildren(
    element("p", {}, `${found.rows} memory tokens of ${found.size} numbers stand for ${words.length} words: ${found.bytes.toLocaleString()} bytes.`),
    element("h3", {}, "Words by weight"), element("p", { class: "dim" }, "The darker a word, the more the memory depends on it."), shown,
    ...(paraphrase === null ? [] : [
      element("h3", {}, "Written from the memory alone"), element("p", { id: "paraphrase" }, paraphrase),
      element("h3", {}, "Names and numbers"),
      element("p", {}, `Kept: ${kept.join(", ") || "none"}.`), element("p", {}, `Lost: ${lost.join(", ") || "none"}.`)]),
    ...(nearest.length === 0 ? [] : [
      element("h3", {}, "Token by token"),
      element("ol", {}, ...nearest.map((tokens) => element("li", {}, tokens.map((one) => one.text).join(" "))))]));
  tell("");
  $("memory").showModal();
}

// -- about -------------------------------------------------------------------------------------------

async function showAbout() {
  const store = await call(`api/stores/${encodeURIComponent(state.store)}`);
  const table = (values) => element("table", {}, element("tbody", {}, ...values.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, String(typeof value === "number" ? value.toLocaleString() : value))))));
  const model = state.info.model || {};
  $("about").replaceChildren(
    element("div", { class: "card" }, element("h3", {}, "Store"), table([["Name", state.store], ["Documents", store.documents], ["Passages", store.passages], ["Memory tokens", store.memory_rows],
      ["Memories", size(store.memory_bytes)], ["Embeddings", size(store.embedding_bytes)], ["Texts and tables", size(store.database_bytes)], ["Kept as", store.memory_dtype], ["Made", new Date(store.created * 1000).toLocaleString()]])),
    element("div", { class: "card" }, element("h3", {}, "Model"), table([["Name", model.name], ["Parameters", model.parameters], ["Computes in", `${model.precision} on ${model.device}`],
      ["Tokens of a passage", model.passage_tokens], ["Fingerprint", model.fingerprint], ["Clara", state.info.version]])));
}

// -- the page ----------------------------------------------------------------------------------------

const VIEWS = { ask: null, search: null, documents: showDocuments, about: showAbout };

function show() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "ask";
  for (const view of Object.keys(VIEWS)) $(`view-${view}`).hidden = view !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (VIEWS[name] && state.store) guarded(VIEWS[name])();
}

async function start() {
  state.info = await call("api/info");
  $("key").hidden = true;
  if (!state.info.ready) {
    tell(state.info.error || "The model is being loaded …", Boolean(state.info.error));
    if (!state.info.error) setTimeout(guarded(start), 500);
    return;
  }
  $("store").replaceChildren(...state.info.stores.map((name) => element("option", { value: name }, name)));
  state.store = state.info.stores[0];
  $("drop").hidden = !state.info.writable;
  tell("");
  show();
}

$("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || state.asking) return;
  $("question").value = "";
  guarded(ask)(question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask-form").requestSubmit();
  }
});
$("cancel").addEventListener("click", () => { state.asking?.abort(); tell("Stopped."); });
$("fresh").addEventListener("click", () => { state.before = []; tell("The next question stands alone."); $("question").focus(); });
$("search-form").addEventListener("submit", (event) => { event.preventDefault(); guarded(search)($("query").value, $("where").value.trim()); });
$("files").addEventListener("change", guarded(async (event) => { await addFiles([...event.target.files]); event.target.value = ""; }));
$("filter").addEventListener("input", guarded(showDocuments));
$("store").addEventListener("change", () => { state.store = $("store").value; state.before = []; $("document").replaceChildren(); show(); });
$("key").addEventListener("submit", (event) => { event.preventDefault(); sessionStorage.setItem("clara-key", event.target.querySelector("input").value); guarded(start)(); });
$("memory-close").addEventListener("click", () => $("memory").close());
for (const [name, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.toggle("over", isOver); });
}
$("drop").addEventListener("drop", guarded((event) => addFiles([...event.dataTransfer.files])));
window.addEventListener("hashchange", show);
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    location.hash = "#ask";
    show();
    $("question").focus();
  } else if (/^[1-9]$/.test(event.key) && !$("view-ask").hidden) {
    const source = state.sources[Number(event.key) - 1];
    if (source) choose(source.id);
  }
});
guarded(start)();
