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
  const { models } = await answer.json();
  const rows = [];
  const counts = [];
  for (const { name, slots_total, slots } of models) {
    counts.push(`${name} ${slots.length} of ${slots_total}`);
    for (const slot of slots) rows.push({ model: name, ...slot });
  }
  document.getElementById("slots-summary").textContent = counts.join(" · ") || "no sequence models";
  document.getElementById("slots").replaceChildren(...rows.slice(0, ROWS_MAX).map((row) => line(row, own)));
}

function line(row, own) {
  const cells = [
    [row.model],
    [row.slot],
    [row.sequence_id],
    [row.steps, "number"],
    [row.waiting, "number"],
    [`${row.lag_ms} ms`, "number"],
    [size(row.state_bytes), "number"],
    [`${(row.age_ms / SECOND).toFixed(0)} s`, "number"],
  ];
  const line = document.createElement("tr");
  if (own !== undefined && String(row.sequence_id) === String(own)) line.className = "own";
  for (const [text, name] of cells) {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (name) cell.className = name;
    line.append(cell);
  }
  return line;
}

function size(bytes) {
  if (bytes === null || bytes === undefined) return "its own";
  return bytes < 10240 ? `${bytes} B` : `${(bytes / 1024).toFixed(0)} KiB`;
}
