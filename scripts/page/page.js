"use strict";
const byId = id => document.getElementById(id);
let token = "", file = "", ligands = [], found = [], about = {}, views = 0, timer = 0;

function make(tag, text, kind) {
  const node = document.createElement(tag);
  node.textContent = text;
  if (kind) node.className = kind;
  return node;
}
function say(text, kind = "") {
  byId("message").textContent = text;
  byId("message").className = kind;
}
function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => {
    const option = make("option", text);
    option.value = value;
    return option;
  }));
}
function table(node, head, rows, numbers) {
  const cell = (tag, value, column) => make(tag, value, numbers.includes(column) ? "number" : "");
  const line = (tag, values) => {
    const row = document.createElement("tr");
    row.append(...values.map((value, column) => cell(tag, value, column)));
    return row;
  };
  node.replaceChildren(...(head.length ? [line("th", head)] : []), ...rows.map(values => line("td", values)));
}

async function ask(address, body) {
  const answer = await fetch(address, { method: "POST", headers: { "X-Ligare": "1" }, body });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}
async function busy(text, work) {
  const start = Date.now();
  const tick = async () => {
    const { under_way } = await (await fetch("state")).json();
    if (!timer) return;
    const others = under_way > 1 ? `; ${under_way - 1} more in the queue` : "";
    say(`${text} (${Math.round((Date.now() - start) / 1000)} s${others})`, "busy");
  };
  say(text, "busy");
  timer = setInterval(() => tick().catch(() => {}), 2000);
  for (const id of ["structure", "go"]) byId(id).disabled = true;
  try {
    const result = await work();
    stop();
    say("");
    return result;
  } catch (error) {
    stop();
    say(error instanceof TypeError ? "The server does not answer, or refused the upload. Is it still running?" : error.message, "wrong");
    return null;
  }
}
function stop() {
  clearInterval(timer);
  timer = 0;
  for (const id of ["structure", "go"]) byId(id).disabled = false;
}
const short = value => (value === 0 || Math.abs(value) >= 0.001 ? value.toFixed(4) : value.toExponential(2));
const size = bytes => `${Math.round(bytes / 2 ** 20)} MB`;

async function upload(chosen) {
  byId("results").hidden = true;
  for (const id of ["choose", "ask"]) byId(id).disabled = true;
  if (chosen.size > about.largest) {
    say(`${chosen.name}: is larger than ${size(about.largest)}, the limit here`, "wrong");
    return;
  }
  const seen = await busy(`Reading ${chosen.name}`, () => ask(`look?name=${encodeURIComponent(chosen.name)}`, chosen));
  byId("structure").value = "";
  byId("drop-text").textContent = seen ? `${chosen.name}. Drop another file here, or choose one` : "Drop a file here, or choose one";
  if (!seen) return;
  [token, file, ligands, found] = [seen.token, seen.file, seen.ligands, seen.interfaces];
  const chains = seen.chains.map(chain => [`chain:${chain.name}`, chain.text]);
  fill(byId("side1"), chains);
  fill(byId("side2"), [...chains, ...ligands.map((ligand, number) => [`ligand:${number}`, ligand.text])]);
  const how = found.length ? `choose below (${found.length} found)` : "none found: choose below";
  fill(byId("found"), [...found.map((one, number) => [number, one.text]), ["", how]]);
  byId("hidden").textContent = seen.hidden ? `${seen.hidden} more are not listed.` : "";
  byId("ligand").value = "";
  for (const id of ["choose", "ask"]) byId(id).disabled = false;
  choose();
  say(`${file}: ${seen.chains.length} chains, ${ligands.length} ligands and ions, ${found.length} interfaces found`);
}
function choose() {
  const one = found[byId("found").value];
  if (!one) return;
  const first = one.chain1.split("_"), second = one.chain2.split("_");
  for (const option of byId("side1").options) option.selected = first.includes(option.value.slice(6));
  for (const option of byId("side2").options) {
    const ligand = option.value.startsWith("ligand:") ? ligands[option.value.slice(7)] : null;
    option.selected = ligand
      ? Boolean(one.lig_resi) && ligand.code === one.lig_code && ligand.number === one.lig_resi && second.includes(ligand.chain)
      : !one.lig_code && second.includes(option.value.slice(6));
  }
  byId("side1").selectedOptions[0]?.scrollIntoView({ block: "nearest" });
  byId("side2").selectedOptions[0]?.scrollIntoView({ block: "nearest" });
}
function chosen() {
  const values = id => [...byId(id).selectedOptions].map(option => option.value);
  const one = found[byId("found").value];
  if (one && !byId("ligand").files.length) {
    const { chain1, chain2, lig_code, lig_resi } = one;
    return { chain1, chain2, lig_code, lig_resi };
  }
  const chain1 = values("side1").map(value => value.slice(6)).join("_"), second = values("side2");
  if (byId("ligand").files.length) return { chain1 };
  const picked = second.filter(value => value.startsWith("ligand:")).map(value => ligands[value.slice(7)]);
  if (!second.length) throw new Error("Choose side 2: chains, a ligand, or a ligand file");
  if (!picked.length && !chain1) throw new Error("Choose the chains of side 1");
  if (picked.length > 1 || (picked.length && second.length > 1)) throw new Error("Side 2 is chains, or one ligand");
  if (!picked.length) return { chain1, chain2: second.map(value => value.slice(6)).join("_") };
  return { chain1, chain2: picked[0].chain, lig_code: picked[0].code, lig_resi: picked[0].number };
}

async function analyse() {
  byId("results").hidden = true;
  const result = await busy("Computing", async () => {
    const order = { token, file, target: byId("target").value, ...chosen() };
    const sdf = byId("ligand").files[0];
    if (sdf) {
      order.ligand = (await ask(`ligand?token=${token}&name=${encodeURIComponent(sdf.name)}`, sdf)).file;
    }
    return ask("analyse", JSON.stringify(order));
  });
  if (result) show(result);
}
function show(result) {
  byId("title").textContent = `${result.name}: ${result.sides}`;
  byId("facts").textContent = `${result.kind ? result.kind + ", " : ""}${result.blocks} residues or fragments and ${result.atoms} atoms at the interface`;
  table(byId("predictions"), [], result.predictions.map(one => [one.name, one.value]), [1]);
  byId("no-prediction").textContent = result.predictions.length ? about.interval : "No predictor was given (--predictor CHECKPOINT).";
  const columns = result.neighbours.length ? Object.keys(Object.assign({}, ...result.neighbours)) : [];
  table(byId("neighbours"), columns, result.neighbours.map(one => columns.map(name => one[name] ?? "")), [1]);
  byId("no-neighbours").textContent = result.neighbours.length
    ? `By cosine, among ${about.neighbours}.`
    : "No atlas was given (--atlas), and none is bundled: there is nothing to compare with.";
  byId("what").textContent = `Score: ${result.what}. The list shows the ${result.top.length} largest, with the distance to the other side; the files hold all.`;
  table(byId("top"), ["rank", "residue", "side", "score", "distance (Å)"], result.top.map(block => [
    block.rank, block.name, block.segment + 1, short(block.score), block.distance?.toFixed(2) ?? "",
  ]), [0, 3, 4]);
  byId("view").src = `results/${token}/view.html?${++views}`;
  byId("downloads").replaceChildren(...result.files.map(name => {
    const link = make("a", `Download ${name}`);
    link.href = `results/${token}/${name}`;
    link.download = name;
    return link;
  }));
  byId("vector").textContent = `[${result.vector.join(", ")}]`;
  byId("results").hidden = false;
  if (byId("results").offsetTop > byId("form").offsetTop + 100) byId("results").scrollIntoView({ behavior: "smooth" });
}

byId("structure").addEventListener("change", () => byId("structure").files[0] && upload(byId("structure").files[0]));
byId("found").addEventListener("change", choose);
for (const id of ["side1", "side2"]) byId(id).addEventListener("change", () => (byId("found").value = ""));
byId("form").addEventListener("submit", event => {
  event.preventDefault();
  analyse();
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  byId("drop").addEventListener(kind, event => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0] && !byId("structure").disabled) upload(event.dataTransfer.files[0]);
  });
}
fetch("settings").then(answer => answer.json()).then(settings => {
  about = settings;
  const parts = [`model ${about.model}`];
  if (about.predicts.length) parts.push(`predicts ${about.predicts.join(", ")}`);
  parts.push(about.neighbours ? `atlas of ${about.neighbours}` : "no atlas");
  byId("about").textContent = parts.join(" · ");
  byId("largest").textContent = size(about.largest);
  fill(byId("target"), about.targets.map(target => [target.name, target.words]));
}).catch(() => say("The server does not answer.", "wrong"));
