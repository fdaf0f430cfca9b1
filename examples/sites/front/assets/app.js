// The path is read here: every page of the shop is the same file.
document.querySelector("#page").textContent = `Page ${location.pathname}`;

const answer = await fetch("/api/stock");
const { found } = await answer.json();
for (const [name, count] of Object.entries(found)) {
  const line = document.createElement("li");
  line.textContent = `${name}: ${count}`;
  document.querySelector("#stock").append(line);
}

const socket = new WebSocket(`${location.origin.replace("http", "ws")}/api/watch`);
socket.onopen = () => socket.send("tea");
socket.onmessage = (event) => {
  document.querySelector("#live").textContent = `live ${event.data}`;
};
