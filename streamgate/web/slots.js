// The server's name, and who is in which slot.

const SECOND = 1000;
const ROWS_MAX = 40;

export async function showServer() {
  const place = document.getElementById("server");
  try {
    const { name, version } = await (await fetch("/v2")).json();
    place.textContent = `${name} ${version}`;
  } catch {
    place.textContent = "the server does not answer";
  }
}

export function watchSlots(ownSequence) {
  const look = async () => {
    if (!document.hidden) await show(ownSequence()).catch(() => {});
    setTimeout(look, SECOND);
  };
  look();
}

async function show(own) {
  const answer = await fetch("/v2/slots");
  if (!answer.ok) return;
  const { models } = await answer.json();
  const rows = new Map(); // an ensemble's are those of its models, which are listed, too
  const counts = [];
  for (const model of models) {
    if (model.slots) counts.push(`${model.name} ${model.taken} of ${model.slots}`);
    for (const row of model.sequences) rows.set(`${row.instance} ${row.slot}`, row);
  }
  document.getElementById("slots-summary").textContent = counts.join(" · ") || "no sequence models";
  const shown = [...rows.values()].slice(0, ROWS_MAX).map((row) => line(row, own));
  document.getElementById("slots").replaceChildren(...shown);
}

function line(row, own) {
  const cells = [
    [row.instance],
    [row.slot, "number"],
    [row.sequence],
    [row.is_reserved ? "reserved" : row.steps, "number"],
    [row.queued, "number"],
    [`${(row.lag_seconds * SECOND).toFixed(0)} ms`, "number"],
    [row.state_bytes ? size(row.state_bytes) : "its own", "number"],
    [`${row.held_seconds.toFixed(0)} s`, "number"],
  ];
  const line = document.createElement("tr");
  if (own !== undefined && String(row.sequence) === String(own)) line.className = "own";
  for (const [text, name] of cells) {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (name) cell.className = name;
    line.append(cell);
  }
  return line;
}

function size(bytes) {
  return bytes < 10240 ? `${bytes} B` : `${(bytes / 1024).toFixed(0)} KiB`;
}
